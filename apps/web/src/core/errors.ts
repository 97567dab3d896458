/** What the person in front of the page is told. `kind` is stable, `message` is a sentence or two: what happened, the
 * value, what to do next. */

export type ErrorKind =
  | "photo" // no image, a damaged one, or one that this browser cannot read
  | "too-large"
  | "memory"
  | "artifact" // a file of the bundle is missing, changed or not what its manifest says
  | "engine" // the runtime cannot load or run the model here
  | "output" // the model's answer must not be shown: NaN, infinity, black
  | "save";

export class AppError extends Error {
  constructor(
    readonly kind: ErrorKind,
    message: string,
  ) {
    super(message);
    this.name = "AppError";
  }
}

/** Words for anything that was thrown; `kind` and `sentence` are for what is not an AppError. */
export function explained(thrown: unknown, kind: ErrorKind, sentence: string): AppError {
  if (thrown instanceof AppError) return thrown;
  const detail = thrown instanceof Error ? thrown.message : String(thrown);
  if (isOutOfMemory(thrown, detail)) {
    return new AppError(
      "memory",
      "The device ran out of memory. Close other pages, use a smaller photo, or choose smaller tiles under Settings.",
    );
  }
  return new AppError(kind, `${sentence} (${detail.slice(0, 300)})`);
}

function isOutOfMemory(thrown: unknown, detail: string): boolean {
  return (
    (thrown instanceof RangeError && /alloc|length|memory/i.test(detail)) ||
    /out of memory|bad_alloc|cannot enlarge memory|array buffer allocation|OOM\b/i.test(detail)
  );
}
