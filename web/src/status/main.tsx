import { startPage } from "../lib/page";
import { StatusApp } from "./app";

startPage(StatusApp, "navStatus");
