export { MEASURING_KINDS, MOST_REPORTED_JOBS } from "../../job/reported-kinds.js";
export type {
  Comparison,
  JobReport,
  LeftOutJob,
  PresetRow,
  ReportDocument,
  ReportedJob,
  TaskRow,
} from "../../job/report-schemas.js";
