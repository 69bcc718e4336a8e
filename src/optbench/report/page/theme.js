// Runs before the first paint: sets the saved theme, and marks that scripts run.
document.documentElement.classList.add("scripted");
try {
  const theme = localStorage.getItem("optbench-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* no storage for files in this browser */ }
