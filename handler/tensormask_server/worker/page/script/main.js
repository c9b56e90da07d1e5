// Starts the parts of the page.

import { startClasses } from "./classes.js";
import { startDownloads } from "./downloads.js";
import { byId } from "./elements.js";
import { startExamples } from "./examples.js";
import { startIntake } from "./intake.js";
import { startList } from "./list.js";
import { startOptions } from "./options.js";
import { startSamples } from "./samples.js";
import { on } from "./state.js";
import { startThreshold } from "./threshold.js";
import { startViewer } from "./viewer.js";

on("result", () => { byId("result").hidden = false; });
startClasses();
startIntake();
startViewer();
startThreshold();
startOptions();
startList();
startDownloads();
startExamples();
startSamples();
