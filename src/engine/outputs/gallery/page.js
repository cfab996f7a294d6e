
'use strict';
// The table is the data: everything here shows it in another way. Text only ever becomes text.
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (name, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(name), properties);
    element.append(...children);
    return element;
  };
  const say = (text) => { one('#said').textContent = text; };

  for (const time of all('time')) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) {
      time.title = time.textContent;
      time.textContent = at.toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' });
    }
  }

  const copy = async (button) => {
    const code = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // Some browsers keep the clipboard from pages that are files: select it, so that Ctrl+C does it.
      getSelection().selectAllChildren(code);
      if (!document.execCommand('copy')) {
        say('Selected. Press Ctrl+C to copy.');
        return;
      }
    }
    button.textContent = 'Copied';
    say('Copied');
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  };
  for (const button of all('.copy')) {
    button.hidden = false;
    button.addEventListener('click', () => copy(button));
  }

  const grid = one('#grid');
  if (!grid) return;
  const heads = all('thead th', grid).slice(1).map((head) => head.dataset.step ?? null);
  const nameOf = (column) => (heads[column] === null ? 'no step' : `step ${heads[column]}`);
  const prompts = all('tbody tr', grid).map((row, at) => ({
    number: at + 1,
    text: one('.prompt', row).textContent,
    known: !one('.unknown', row),
    cells: all('td', row).map((cell) => all('a.shot', cell)),
  }));

  const player = (shot, large) => {
    const { media } = shot.dataset;
    if (media === 'image') {
      const small = one('img', shot);
      return make('img', { src: shot.href, alt: small.alt, decoding: 'async', loading: large ? 'eager' : 'lazy' });
    }
    const label = shot.getAttribute('aria-label');
    const made = make(media, { src: shot.href, controls: true, loop: media === 'video', preload: 'metadata' });
    made.setAttribute('aria-label', label);
    return made;
  };

  // Pictures load lazily by themselves. A film is opened while it can be seen, and closed again: browsers allow few.
  const watcher = new IntersectionObserver((seen) => {
    for (const { target, isIntersecting } of seen) {
      const film = one('video', target);
      if (isIntersecting && !film) {
        target.prepend(make('video', { src: target.href, muted: true, preload: 'metadata', tabIndex: -1 }));
      } else if (!isIntersecting && film) {
        film.removeAttribute('src');
        film.load();
        film.remove();
      }
    }
  }, { rootMargin: '100px' });
  for (const shot of all('a.shot.video', grid)) watcher.observe(shot);

  // Large, one at a time.
  const viewer = one('#viewer');
  const title = one('#viewer-title');
  let place = null;
  const go = { before: [0, -1], after: [0, 1], above: [-1, 0], below: [1, 0] };
  // A step that is trained again is drawn again: the newest comes first in its cell, and the older ones before it in time.
  const next = (from, [down, along]) => {
    if (along && prompts[from.row].cells[from.column][from.age - along]) return { ...from, age: from.age - along };
    let { row, column } = from;
    for (;;) {
      row += down;
      column += along;
      const cell = prompts[row]?.cells[column];
      if (!cell) return null;
      if (cell.length) return { row, column, age: along > 0 ? cell.length - 1 : 0 };
    }
  };
  const show = (to) => {
    place = to;
    const prompt = prompts[to.row];
    const shots = prompt.cells[to.column];
    const shot = shots[to.age];
    const { seed, size, proof, sha } = shot.dataset;
    const step = nameOf(to.column);
    const again = shots.length > 1 ? `, drawing ${shots.length - to.age} of ${shots.length}` : '';
    title.textContent = `${step[0].toUpperCase()}${step.slice(1)}, prompt ${prompt.number} of ${prompts.length}${again}`;
    one('.prompt', viewer).textContent = prompt.text;
    one('.frame', viewer).replaceChildren(player(shot, true));
    const link = make('a', { href: shot.href, target: '_blank', rel: 'noopener noreferrer' }, 'Open the file');
    const fact = (name, value) => make('div', {}, make('dt', {}, name), make('dd', {}, value));
    one('dl', viewer).replaceChildren(
      ...(seed ? [fact('Seed', seed)] : []),
      fact('File', make('code', {}, decodeURIComponent(shot.getAttribute('href')))),
      fact('Size', size),
      fact('Proof', proof),
      fact('SHA-256', make('code', {}, sha)),
    );
    one('.open', viewer).replaceChildren(link);
    for (const button of all('[data-go]', viewer)) {
      const way = go[button.dataset.go];
      button.disabled = Boolean(way) && !next(place, way);
    }
    const isNew = !viewer.open;
    if (isNew) viewer.showModal();
    // What had the focus may be gone or disabled now. A button below the picture would scroll it away on a small screen.
    if (isNew || !viewer.contains(document.activeElement)) {
      viewer.focus();
      viewer.scrollTop = 0;
    }
  };
  const move = (name) => {
    if (name === 'close') return viewer.close();
    const to = next(place, go[name]);
    if (to) show(to);
    return undefined;
  };
  viewer.addEventListener('click', ({ target }) => {
    if (target.dataset.go) move(target.dataset.go);
    if (target === viewer) viewer.close();
  });
  viewer.addEventListener('close', () => one('.frame', viewer).replaceChildren());
  document.addEventListener('keydown', (event) => {
    if (!viewer.open || event.target.matches('video, audio') || event.altKey || event.ctrlKey || event.metaKey) return;
    const name = { ArrowLeft: 'before', ArrowRight: 'after', ArrowUp: 'above', ArrowDown: 'below' }[event.key];
    if (name) {
      event.preventDefault();
      move(name);
    }
  });
  const opensViewer = (link, to) => link.addEventListener('click', (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    show(to);
  });
  prompts.forEach(({ cells }, row) => cells.forEach((shots, column) => shots.forEach((shot, age) => {
    opensViewer(shot, { row, column, age });
  })));

  // One step, or two beside each other.
  const stage = one('#stage');
  const [first, second] = [one('#first'), one('#second')];
  const sliders = [first, second];
  for (const slider of sliders) slider.max = heads.length - 1;
  first.value = heads.length - 1;
  second.value = heads.length - 1;
  const side = (prompt, column) => {
    const shots = prompt.cells[column];
    if (!shots.length) return [make('p', { className: 'none' }, `nothing here at ${nameOf(column)}`)];
    return shots.map((shot, age) => {
      const made = player(shot, false);
      const link = shot.dataset.media === 'image' ? make('a', { href: shot.href }, made) : made;
      if (link !== made) opensViewer(link, { row: prompt.number - 1, column, age });
      const { seed } = shot.dataset;
      return make('figure', {}, link, make('figcaption', {}, seed ? `seed ${seed}` : ''));
    });
  };
  const draw = (view) => {
    const columns = (view === 'compare' ? sliders : [first]).map((slider) => Number(slider.value));
    stage.classList.toggle('pairs', view === 'compare');
    stage.replaceChildren(...prompts.map((prompt) => {
      const text = make('p', { className: 'prompt', dir: 'auto', tabIndex: 0 }, prompt.text);
      text.classList.toggle('unknown', !prompt.known);
      const sides = columns.map((column) => make('div', { className: 'side' },
        ...(view === 'compare' ? [make('h4', {}, nameOf(column))] : []), ...side(prompt, column)));
      const card = make('article', { className: 'card' },
        make('h3', {}, make('span', { className: 'number' }, String(prompt.number)), ' ', nameOf(columns[0])), text,
        make('div', { className: 'sides' }, ...sides));
      if (view === 'compare') one('h3', card).lastChild.remove();
      return card;
    }));
  };
  const view = () => one('input[name=view]:checked').value;
  const update = () => {
    const now = view();
    grid.hidden = now !== 'grid';
    stage.hidden = now === 'grid';
    first.parentElement.hidden = now === 'grid';
    second.parentElement.hidden = now !== 'compare';
    for (const slider of sliders) {
      const name = nameOf(Number(slider.value));
      slider.setAttribute('aria-valuetext', name);
      slider.parentElement.querySelector('output').textContent = heads[slider.value] ?? 'none';
    }
    if (now === 'grid') stage.replaceChildren();
    else draw(now);
  };
  for (const choice of all('input[name=view]')) {
    choice.addEventListener('change', () => {
      // Two steps that are the same would show nothing.
      if (view() === 'compare' && first.value === second.value) first.value = 0;
      update();
    });
  }
  for (const slider of sliders) slider.addEventListener('input', update);
  one('#tools').hidden = false;
  update();
})();
