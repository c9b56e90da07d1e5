// Starts the parts of the page.

import { startClasses } from "./classes.js";
import { startControls } from "./controls.js";
import { startDetails } from "./details.js";
import { startDownloads } from "./downloads.js";
import { startExamples } from "./examples.js";
import { startGestures } from "./gestures.js";
import { startIntake } from "./intake.js";
import { startLegend } from "./legend.js";
import { startList } from "./list.js";
import { startOptions } from "./options.js";
import { startRequests } from "./requests.js";
import { startSamples } from "./samples.js";
import { startViewer } from "./viewer.js";

startClasses();
startIntake();
startRequests();
startViewer();
startGestures();
startControls();
startLegend();
startDetails();
startList();
startOptions();
startDownloads();
startExamples();
startSamples();
