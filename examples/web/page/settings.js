// What is drawn, and in which colours the page is: kept by the browser.

const KEY = "rtmpose-settings";
const DEFAULTS = { threshold: 0.3, skeletons: true, points: true, boxes: false, ids: true, theme: "" };

function kept() {
  try {
    return JSON.parse(localStorage.getItem(KEY)) ?? {};
  } catch {
    return {};
  }
}

export const settings = { ...DEFAULTS, ...kept() };

/** Binds the form to the settings, and tells of changes. */
export function bind(form, onChange) {
  const show = () => {
    form.querySelector("output").textContent = settings.threshold.toFixed(2);
    document.documentElement.dataset.theme = settings.theme;
  };
  for (const name of Object.keys(DEFAULTS)) {
    const field = form.elements[name];
    if (field.type === "checkbox") field.checked = settings[name];
    else field.value = settings[name];
  }
  show();
  form.addEventListener("input", ({ target }) => {
    settings[target.name] =
      target.type === "checkbox" ? target.checked : target.type === "range" ? target.valueAsNumber : target.value;
    show();
    try {
      localStorage.setItem(KEY, JSON.stringify(settings));
    } catch {
      // Not kept, then.
    }
    onChange();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
}
