// Saves a chart, or a whole page of charts, as files.
//
//   mount(element, { plotly, palette, menu: saveMenu({ plotly, module }) });   // see figure.js
//   save("loss.csv", text, "text/csv");
//   await standalone({ title, body, figures, palette, sources: { plotly, module } });
//
// `plotly` and `module` are the URLs of plotly.min.js and of figure.js in one file: a page that
// stands alone holds both, so that it opens from a disk, without a network, and draws as the live
// chart does.

import { save } from "./export/save.js";
import { saveMenu } from "./export/save_menu.js";
import { standalone } from "./export/standalone.js";

export { save, saveMenu, standalone };
