// Filters of the scoreboard. Without this script the form stays hidden and the table is complete.
document.addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.filters");
  if (!form) return;
  const rows = [...document.querySelectorAll("table.scoreboard tbody tr")];
  const value = (name) => form.querySelector(`[data-filter="${name}"]`).value;
  const update = () => {
    const words = value("text").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !["part", "verdict"].every((name) => !value(name) || row.dataset[name] === value(name)) ||
        !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    form.querySelector(".shown").textContent = `${shown} of ${rows.length} claims`;
  };
  form.hidden = false;
  form.addEventListener("input", update);
  form.addEventListener("submit", (event) => event.preventDefault());
  update();
});
