// Downloads what needs a token: a link alone could not carry one.
import { SessionRefused, token } from "../session.js";

/**
 * Save the CSV of a resource as a file. The gateway writes it, with an apostrophe before what begins like a formula.
 * @param {string} path
 * @param {string} name of the file
 */
export async function downloadCsv(path, name) {
  const headers = { Accept: "text/csv", Authorization: `Bearer ${await token({ reason: "retry" })}` };
  const answer = await fetch(path, { headers, cache: "no-store" });
  if (!answer.ok) {
    const { error } = await answer.json().catch(() => ({}));
    throw new SessionRefused(answer.status, error?.code ?? "", error?.message ?? `HTTP ${answer.status}`, 0);
  }
  const url = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  // Not at once: some browsers read it after the click.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
