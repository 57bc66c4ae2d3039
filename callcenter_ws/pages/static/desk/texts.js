// The texts of the desk; the form is that of ../texts.js. Those of the chats, the notifications and the figures are beside them.

import { addTexts } from "../texts.js";

addTexts({
  "desk.title": "Desk",
  "desk.calls": "Calls",
  "desk.side": "Notifications and figures",
});
