// The report's script: it stands in the page, and only it may run there.

import { startLight } from "./report_light.js";
import { startAnswers, startClusters, startImages } from "./report_page.js";

startImages();
startLight();
startClusters();
startAnswers();
