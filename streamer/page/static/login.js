// The login: a token for a session. The token goes nowhere but into the request.
import { post } from "./common.js";

const form = document.querySelector("#login");
const error = document.querySelector("#error");
const REFUSED = {
  login: "The link's token is not known here: it may be an old one.",
  too_many: "Too many wrong tokens: wait a minute.",
};

/** Where to go after: a page of this server, nothing else. */
function next() {
  const wanted = new URLSearchParams(location.search).get("next") ?? "/live";
  const found = new URL(wanted, location.origin);
  return found.origin === location.origin && found.pathname !== "/login"
    ? found.pathname + found.search
    : "/live";
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  error.textContent = "";
  const button = form.querySelector("button");
  button.disabled = true;
  try {
    const name = form.elements.name.value.trim();
    await post("/api/login", { token: form.elements.token.value.trim(), ...(name && { name }) });
    location.assign(next());
  } catch (failed) {
    error.textContent = failed.message;
    form.elements.token.select();
  } finally {
    button.disabled = false;
  }
});
const refused = new URLSearchParams(location.search).get("refused");
if (refused) error.textContent = REFUSED[refused] ?? "The link was refused.";
(form.elements.name.value ? form.elements.token : form.elements.name).focus();
