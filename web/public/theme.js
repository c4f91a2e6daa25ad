// Before the first paint: the theme that was chosen here, else the system's. A file of its own, because the hub's
// content security policy allows nothing inline.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem('flotilla.theme');
  } catch {
    // Storage is switched off; the system's theme will do.
  }
  const dark = chosen ? chosen === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
})();
