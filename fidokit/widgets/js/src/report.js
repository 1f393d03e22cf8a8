// The report's script: it stands in the page, and only it may run there.

import { startAnswers, startClusters, startImages } from "./report_page.js";

startImages();
startClusters();
startAnswers();
