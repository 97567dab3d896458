/** Licences and notices, over the page: a web view has no second window, and leaving the page would lose the photo. */

import { box, button, element } from "./elements";

export function offerNotices(): void {
  const dialog = element("notices", HTMLDialogElement);
  button("show-notices").addEventListener("click", () => {
    dialog.showModal();
    void show(box("notices-text"));
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close(); // beside it
  });
}

async function show(text: HTMLElement): Promise<void> {
  try {
    const response = await fetch("NOTICE.txt");
    if (!response.ok) throw new Error(String(response.status));
    text.textContent = await response.text();
  } catch {
    text.textContent = "The notices cannot be read now. They are in NOTICE.txt beside this page.";
  }
}
