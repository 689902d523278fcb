export type {
  Comparison,
  JobReport,
  LeftOutJob,
  PresetRow,
  ReportDocument,
  ReportedJob,
  TaskRow,
} from "../../job/report-schemas.js";
