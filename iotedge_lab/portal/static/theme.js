// Inside JupyterLab the page is as light or as dark as JupyterLab is; by itself, as the system is.
export function followTheme() {
  let body = null;
  try { if (parent !== window) body = parent.document.body; } catch { /* another site's frame: it shows nothing anyway */ }
  if (!body) return;
  const show = () => {
    const light = body.dataset.jpThemeLight;
    if (light) document.documentElement.dataset.theme = light === "false" ? "dark" : "light";
  };
  show();
  new MutationObserver(show).observe(body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
}
