/**
 * Moves the focus to what has come of an action, when what was acted on is gone or off; where somebody is elsewhere already,
 * it stays, and so does what is in view.
 */
export function focusOn(target: HTMLElement | null | undefined): void {
  const now = document.activeElement;
  if (!now || now === document.body || now.matches(":disabled")) target?.focus({ preventScroll: true });
}
