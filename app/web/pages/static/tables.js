// Tables that are wholly on their page: sorted by their headings, filtered by words, taken along as CSV.
// The address holds how they are seen, so that it can be sent to somebody.
const UNITS = { K: 1e3, M: 1e6, B: 1e9, ms: 1e-3, min: 60, h: 3600 };
const NUMBER = /^[$≈\s]*(-?[\d,]*\.?\d+)\s*(K|M|B|ms|min|h)?/;

function value(cell) {
  if (!cell) return "";
  const told = cell.dataset.sort ?? cell.querySelector("time")?.dateTime;
  if (told !== undefined) return told !== "" && Number.isFinite(Number(told)) ? Number(told) : told;
  const text = cell.textContent.trim();
  const found = cell.classList.contains("number") && NUMBER.exec(text);
  return found ? Number(found[1].replaceAll(",", "")) * (UNITS[found[2]] ?? 1) : text.toLowerCase();
}

function compare(a, b) {
  if (typeof a === typeof b && typeof a === "number") return a - b;
  if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
  return a.localeCompare(b, undefined, { numeric: true });
}

function words(cell) {
  const time = cell.querySelector("time");
  return (time?.dateTime ?? cell.innerText).trim().replace(/\s+/g, " ");
}

function quoted(text) {
  const safe = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.,]+$/.test(text) ? `'${text}` : text; // no formula
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function keep(name, what) {
  const address = new URL(location.href);
  if (what) address.searchParams.set(name, what);
  else address.searchParams.delete(name);
  history.replaceState(history.state, "", address);
}

function enhance(name, tables) {
  const asked = new URLSearchParams(location.search);
  const rowsOf = new Map(tables.map((table) => [table, [...table.tBodies[0].rows]]));
  const every = [...rowsOf.values()].flat();
  const heads = [...tables[0].tHead.rows[0].cells];

  function sort(column, down) {
    for (const [table, rows] of rowsOf) {
      for (const [place, head] of [...table.tHead.rows[0].cells].entries()) {
        if (place === column) head.setAttribute("aria-sort", down ? "descending" : "ascending");
        else head.removeAttribute("aria-sort");
      }
      const keyed = rows.map((row) => [value(row.cells[column]), row]);
      keyed.sort((a, b) => (down ? compare(b[0], a[0]) : compare(a[0], b[0])));
      table.tBodies[0].append(...keyed.map(([, row]) => row));
    }
  }

  for (const table of tables)
    for (const [column, head] of [...table.tHead.rows[0].cells].entries()) {
      const title = head.textContent.trim().toLowerCase();
      if (!title || head.querySelector(".unseen, a")) continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const was = head.getAttribute("aria-sort");
        const down = was ? was === "ascending" : head.classList.contains("number");
        sort(column, down);
        keep(`${name}-sort`, (down ? "-" : "") + title);
      });
      const wish = asked.get(`${name}-sort`);
      if (table === tables[0] && wish?.replace(/^-/, "") === title) sort(column, wish.startsWith("-"));
    }

  const tools = document.querySelector(`[data-tools="${name}"]`);
  if (!tools) return;
  const field = tools.querySelector("input");
  function filter() {
    const wanted = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of every) row.hidden = !wanted.every((word) => row.textContent.toLowerCase().includes(word));
    for (const [table, rows] of rowsOf) {
      const group = table.closest("[data-group]");
      if (group) group.hidden = rows.every((row) => row.hidden);
    }
    const shown = every.filter((row) => !row.hidden).length;
    tools.querySelector("[data-told]").textContent = wanted.length ? `${shown} of ${every.length}` : "";
  }
  if (field) {
    field.addEventListener("input", () => {
      filter();
      keep(`${name}-q`, field.value.trim());
    });
    field.value = asked.get(`${name}-q`) ?? "";
    if (field.value) filter();
  }
  tools.querySelector("button").addEventListener("click", () => {
    const seen = tables.flatMap((table) => [...table.tBodies[0].rows]).filter((row) => !row.hidden);
    const columns = heads.map((head, place) => [head, place]).filter(([head]) => !head.querySelector(".unseen"));
    const lines = [columns.map(([head]) => quoted(words(head)))];
    for (const row of seen) lines.push(columns.map(([, place]) => (row.cells[place] ? quoted(words(row.cells[place])) : "")));
    const text = lines.map((line) => line.join(",") + "\r\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = `${name}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
  tools.classList.remove("waits");
}

const found = new Map();
for (const table of document.querySelectorAll("table[data-table]"))
  found.set(table.dataset.table, [...(found.get(table.dataset.table) ?? []), table]);
for (const [name, tables] of found) enhance(name, tables);
