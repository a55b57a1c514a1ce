// Saves a chart, or a page of charts, as a file.
//
//   mount(element, { plotly, palette, menu: saveMenu({ plotly, module }) });   // see figure.js
//   save("loss.csv", text, "text/csv");
//   await standalone({ title, body, figures, palette, sources: { plotly, module } });
//
// `plotly` and `module` are the URLs of plotly.min.js and of figure.js as one file. A self-contained
// page includes both, so that it opens offline and draws like the live chart.

import { save } from "./export/save.js";
import { saveMenu } from "./export/save_menu.js";
import { standalone } from "./export/standalone.js";

export { save, saveMenu, standalone };
