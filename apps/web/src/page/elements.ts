/** The page's elements by id, of the kind that the code expects. */

export function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`);
  return found;
}

export const button = (id: string) => element(id, HTMLButtonElement);
export const select = (id: string) => element(id, HTMLSelectElement);
export const input = (id: string) => element(id, HTMLInputElement);
export const canvas = (id: string) => element(id, HTMLCanvasElement);
export const box = (id: string) => element(id, HTMLElement);

/** Mark one button of a group as pressed. */
export function press(group: HTMLElement, chosen: string, key: string): void {
  for (const each of group.querySelectorAll("button")) {
    each.setAttribute("aria-pressed", String(each.dataset[key] === chosen));
  }
}

/** Call `chosen` with the value of a pressed button of the group. */
export function onPress(group: HTMLElement, key: string, chosen: (value: string) => void): void {
  group.addEventListener("click", (event) => {
    const value = (event.target as HTMLElement).closest("button")?.dataset[key];
    if (value !== undefined) chosen(value);
  });
}

/** Replace the choices of a select: value to text. */
export function offer(list: HTMLSelectElement, choices: Iterable<readonly [string, string]>, chosen: string): void {
  list.replaceChildren(...[...choices].map(([value, text]) => new Option(text, value, false, value === chosen)));
}
