// Before anything is painted: the theme that was chosen, and that the page has a script.
document.documentElement.classList.add("scripted");
try {
  const theme = localStorage.getItem("optbench-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* no storage for files in this browser */ }
