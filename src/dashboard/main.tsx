import { render } from "preact";
import { App } from "./app.js";
import { followLinks } from "./router.js";
import { followSystem } from "./state/theme.js";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/parts.css";
import "./styles/jobs.css";
import "./styles/pages.css";
import "./styles/report.css";
import "./styles/cluster.css";
import "./styles/ansi.css";

followSystem();
followLinks();
const root = document.getElementById("app");
if (root !== null) render(<App />, root);
