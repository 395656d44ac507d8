import { startPage } from "../lib/page";
import { PlatformApp } from "./app";

startPage(PlatformApp, "navPlatform");
