// The tables are the page's only data: everything here shows them in another way. Text only ever becomes text.
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const say = (text) => { one('#said').textContent = text; };

  const table = one('#table');
  const rows = all('tbody tr', table);
  const grid = one('#grid');
  const columns = all('#grid [data-run], #settings [data-run]');
  const ticks = rows.map((row) => {
    const name = one('th', row).textContent;
    const tick = make('input', { type: 'checkbox', checked: true });
    tick.setAttribute('aria-label', `Show ${name}`);
    one('.tick', row).append(tick);
    return tick;
  });
  const run = (row) => row.dataset.run;
  const chosen = () => new Set(rows.filter((row, at) => ticks[at].checked && !row.hidden).map(run));

  // Columns of runs that are not chosen are hidden; two chosen runs are shown large.
  const choose = () => {
    const now = chosen();
    for (const cell of columns) cell.hidden = !now.has(cell.dataset.run);
    if (grid) grid.classList.toggle('two', now.size > 0 && now.size <= 2);
    say(`${now.size} of ${rows.length} runs shown`);
  };
  for (const tick of ticks) tick.addEventListener('change', choose);
  const tickAll = (on) => {
    rows.forEach((row, at) => { if (!row.hidden) ticks[at].checked = on; });
    choose();
  };
  one('#every').addEventListener('click', () => tickAll(true));
  one('#none').addEventListener('click', () => tickAll(false));
  one('#filter').addEventListener('input', ({ target }) => {
    const words = target.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    choose();
  });
  one('#choose').hidden = false;

  // A click on a column's head sorts by it, a second one the other way round.
  const value = (row, at) => {
    const cell = row.children[at];
    return cell.dataset.value === undefined ? cell.textContent.toLowerCase() : Number(cell.dataset.value);
  };
  all('thead th', table).forEach((head, at) => {
    const button = make('button', { type: 'button' }, ...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const down = head.ariaSort === 'ascending';
      for (const other of all('thead th', table)) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      const sorted = [...rows].sort((a, b) => {
        const [x, y] = [value(a, at), value(b, at)];
        const order = typeof x === 'number' ? x - y : x.localeCompare(y);
        return down ? -order : order;
      });
      one('tbody', table).append(...sorted);
    });
  });

  if (!grid) return;
  const stepOf = (shot) => (shot.dataset.step === undefined ? -1 : Number(shot.dataset.step));
  const cells = all('tbody td', grid).map((cell) => {
    // Oldest first. All are hidden, so that a move of the slider changes one per cell.
    const shots = all('.shot', cell).reverse();
    for (const shot of shots) shot.hidden = true;
    return { shots, steps: shots.map(stepOf), shown: undefined, at: cell.appendChild(make('span', { className: 'at' })) };
  });
  const steps = [...new Set(all('[data-step]', grid).map((shot) => Number(shot.dataset.step)))].sort((a, b) => a - b);
  const slider = one('#step');
  slider.max = Math.max(steps.length - 1, 0);
  slider.value = slider.max;

  const picture = (shot) => {
    if (shot.dataset.media !== 'image' || one('img', shot)) return;
    shot.replaceChildren(make('img', { src: shot.href, alt: '', loading: 'lazy', decoding: 'async' }));
  };
  // At each step a run shows its newest sample up to that step; its own step is written below.
  const draw = () => {
    const step = steps[slider.value] ?? Infinity;
    for (const cell of cells) {
      const shown = cell.shots[cell.steps.findLastIndex((own) => own <= step)];
      if (shown && shown === cell.shown) continue;
      if (cell.shown) cell.shown.hidden = true;
      cell.shown = shown;
      if (shown) {
        shown.hidden = false;
        picture(shown);
      }
      const own = shown?.dataset.step;
      cell.at.textContent = shown ? (own === undefined ? 'no step' : `step ${own}`) : 'nothing yet';
      cell.at.classList.toggle('nothing', !shown);
    }
    const name = steps.length ? String(steps[slider.value]) : 'none';
    one('output[for=step]').textContent = name;
    slider.setAttribute('aria-valuetext', `step ${name}`);
  };
  slider.addEventListener('input', draw);
  grid.classList.add('ready');
  one('#tools').hidden = steps.length < 2;
  draw();
  choose();
})();
