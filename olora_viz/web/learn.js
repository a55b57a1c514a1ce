// The list of lessons, and what stands beside one: Gradio runs this with `element` and `trigger`.
import { listen } from "./lessons.js";

listen();
