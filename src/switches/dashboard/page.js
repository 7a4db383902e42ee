'use strict';
(() => {
  // Milliseconds between two looks at the tracker, after which a look is given up, and for which rates are averaged.
  const PAUSE = 5000, PATIENCE = 10000, WINDOW = 60000;
  // The version of the numbers that this page knows.
  const FORMAT = 1;
  const WIDTH = 600, HEIGHT = 130;
  const RANGES = {
    minutes: { length: 3600, labels: ['60 minutes ago', '30', 'now'], empty: 'The first minute is not over yet.' },
    quarters: { length: 86400, labels: ['24 hours ago', '12', 'now'], empty: 'The first quarter of an hour is not over yet.' },
  };
  // Beside it wherever the page is, also behind a proxy that puts something before its path. One slash begins it: what
  // stands behind two is a host.
  const SOURCE = `/${location.pathname.replace(/^\/+|\/+$/g, '')}.json`;

  const byId = (id) => document.getElementById(id);
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const draw = (name, attributes) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };
  const setText = (element, text) => {
    // What has not changed is not touched, so that nobody is told of it again.
    if (element.textContent !== text) element.textContent = text;
  };

  // How values are written.
  const whole = (n) => Math.round(n).toLocaleString('en');
  const rate = (n) => n.toLocaleString('en', { maximumFractionDigits: n < 10 ? 2 : n < 100 ? 1 : 0 });
  const bytes = (n) => {
    let unit = 0;
    while (n >= 1024 && unit < 4) { n /= 1024; unit += 1; }
    return `${n.toLocaleString('en', { maximumFractionDigits: n < 10 ? 1 : 0 })} ${['B', 'KiB', 'MiB', 'GiB', 'TiB'][unit]}`;
  };
  const duration = (seconds) => {
    const [days, hours, minutes] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
    if (seconds < 60) return `${Math.floor(seconds)} s`;
    return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes} min` : `${minutes} min`;
  };
  const clock = (date) => date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });
  const words = (name) => name.replaceAll('_', ' ');
  const PROTOCOLS = { http: 'HTTP', udp: 'UDP' }, FAMILIES = { ipv4: 'IPv4', ipv6: 'IPv6' };

  // The rows of a nested object: [path..., value] for each of its leaves.
  const leaves = (tree, depth) => depth === 0 ? [[tree]]
    : Object.entries(tree).flatMap(([key, value]) => leaves(value, depth - 1).map((leaf) => [key, ...leaf]));
  const sum = (numbers) => numbers.reduce((total, n) => total + n, 0);

  const requestSeries = (what) => (history) => leaves(history.requests[what], 2).map(([protocol, family, counts]) => ({
    name: `${PROTOCOLS[protocol]}, ${FAMILIES[family]}`,
    values: counts.map((count, i) => count / history.seconds[i]),
  }));
  // The kinds that there were most of; all others are one.
  const errorSeries = (history) => {
    const kinds = leaves(history.errors, 2).map(([protocol, kind, counts]) => ({
      name: `${words(kind)} (${PROTOCOLS[protocol]})`,
      values: counts.map((count, i) => 60 * count / history.seconds[i]),
    })).filter((kind) => sum(kind.values) > 0).sort((a, b) => sum(b.values) - sum(a.values));
    const rest = kinds.splice(kinds.length > 5 ? 4 : 5);
    if (rest.length) kinds.push({ name: 'all others', values: history.end.map((_, i) => sum(rest.map((kind) => kind.values[i]))) });
    return kinds.length ? kinds : [{ name: 'none', values: history.end.map(() => 0) }];
  };
  const one = (name, key) => (history) => [{ name, values: history[key] }];
  const PLOTS = [
    { id: 'torrents', title: 'Torrents', format: whole, series: one('Torrents', 'torrents') },
    { id: 'peers', title: 'Peers', format: whole, series: (history) => [
      { name: 'Peers', values: history.peers }, { name: 'Seeders among them', values: history.seeders }] },
    { id: 'announces', title: 'Announces a second', format: rate, series: requestSeries('announces') },
    { id: 'connects', title: 'Connects a second', format: rate, series: requestSeries('connects') },
    { id: 'scrapes', title: 'Scrapes a second', format: rate, series: requestSeries('scrapes') },
    { id: 'errors', title: 'Errors a minute', format: rate, series: errorSeries },
    { id: 'memory', title: 'Memory', format: bytes, series: one('Memory', 'memory') },
  ];

  // `zero` is the moment at which the tracker's clock showed 0, on the clock of whoever looks.
  let facts = null, zero = 0, range = 'minutes', looks = [], timer = 0, isLooking = false;

  // Returns whether a thing is another than the last time. Whoever selects or reads what shows it is not disturbed else.
  const changes = () => {
    let before = '';
    return (thing) => {
      const text = JSON.stringify(thing), isNew = text !== before;
      before = text;
      return isNew;
    };
  };

  // A plot: a line for each series, a cursor that tells the values of one row, and the same numbers in a table.
  class Plot {
    constructor({ id, title, format, series }) {
      // The cursor stands on the row that ends there, also when rows before it go.
      Object.assign(this, { title, format, series, cursor: null, isFocused: false });
      Object.assign(this, { isNewAxis: changes(), isNewReadout: changes(), isNewTable: changes() });
      this.time = make('span', { class: 'soft' });
      this.top = make('span');
      this.svg = draw('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
      this.plot = make('div', {
        class: 'plot', role: 'slider', tabindex: '0', 'aria-labelledby': `${id}-title`, 'aria-valuemin': '0', 'aria-valuemax': '0',
        'aria-valuenow': '0', 'aria-valuetext': 'Loading',
      }, this.svg);
      this.axis = make('div', { class: 'axis' });
      this.readout = make('ul', { class: 'readout' });
      this.table = make('table');
      this.details = make('details', {}, make('summary', {}, `${title}: table`),
        make('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': `${title}: table` }, this.table));
      this.details.addEventListener('toggle', () => this.showTable());
      this.figure = make('figure', { id }, make('div', { class: 'row' }, make('h3', { id: `${id}-title` }, title), this.time),
        make('div', { class: 'axis' }, this.top), this.plot, this.axis, this.readout, this.details);
      // Before the first reply there is no past yet.
      this.history = { end: [], seconds: [] };
      this.lines = [];
      this.listen();
    }

    listen() {
      const on = (event, act) => this.plot.addEventListener(event, act);
      on('pointermove', (event) => this.point(event));
      on('pointerdown', (event) => this.point(event));
      on('pointerleave', () => { if (!this.isFocused) this.moveTo(null); });
      on('focus', () => { this.isFocused = true; this.moveTo(this.at()); });
      on('blur', () => { this.isFocused = false; this.moveTo(null); });
      on('keydown', (event) => {
        const at = this.at();
        const to = {
          ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageUp: at + 10, PageDown: at - 10,
          Home: 0, End: this.last(),
        }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        this.moveTo(to);
      });
    }

    last() { return Math.max(0, this.history.end.length - 1); }

    // The row under the cursor: the oldest if that one is gone, the latest if there is no cursor.
    at() {
      const row = this.cursor === null ? -1 : this.history.end.findIndex((end) => end >= this.cursor);
      return row < 0 ? this.last() : row;
    }

    // Where a row stands, from the left: by time, so that a gap is one.
    x(end) { return WIDTH * (1 - (facts.time - end) / RANGES[range].length); }

    point(event) {
      const { left, width } = this.svg.getBoundingClientRect();
      const x = WIDTH * (event.clientX - left) / width;
      const distance = (i) => Math.abs(this.x(this.history.end[i] - this.history.seconds[i] / 2) - x);
      const rows = this.history.end.map((_, i) => i);
      if (rows.length) this.moveTo(rows.reduce((best, i) => distance(i) < distance(best) ? i : best));
    }

    moveTo(row) {
      this.cursor = row === null ? null : this.history.end[Math.min(Math.max(row, 0), this.last())] ?? null;
      this.showCursor();
    }

    // The time of a row, on the clock of whoever looks.
    when(i) { return clock(new Date(zero + 1000 * this.history.end[i])); }

    value(series, i) {
      const value = series.values[i];
      return value === null || value === undefined ? '–' : this.format(value);
    }

    show() {
      this.history = facts[range];
      this.lines = this.series(this.history);
      const highest = Math.max(0, ...this.lines.flatMap((line) => line.values));
      const unit = 10 ** Math.floor(Math.log10(highest || 1));
      // Of bytes, a power of two is the rounder number.
      const max = this.format === bytes ? 2 ** Math.ceil(Math.log2(highest || 1))
        : [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= highest) || highest;
      setText(this.top, this.format(max));
      const { labels } = RANGES[range];
      if (this.isNewAxis(labels)) this.axis.replaceChildren(...labels.map((label) => make('span', {}, label)));
      const y = (value) => HEIGHT - 2 - (HEIGHT - 4) * value / max;
      const parts = [0.25, 0.5, 0.75].map((part) =>
        draw('line', { class: 'grid', x1: 0, x2: WIDTH, y1: y(max * part), y2: y(max * part) }));
      // The first lies above the others.
      this.lines.forEach((line, n) => parts.splice(3, 0, draw('path', { class: `s s${n}`, d: this.path(line.values, y) })));
      this.mark = draw('line', { class: 'cursor', y1: 0, y2: HEIGHT, visibility: 'hidden' });
      this.svg.replaceChildren(...parts, this.mark);
      if (this.isNewReadout(this.lines.map((line) => line.name))) this.buildReadout();
      this.showCursor();
      this.showTable();
    }

    buildReadout() {
      this.values = this.lines.map(() => make('b'));
      this.readout.replaceChildren(...this.lines.map((line, n) => {
        const swatch = draw('svg', { viewBox: '0 0 28 8', 'aria-hidden': 'true' });
        swatch.append(draw('line', { class: `s s${n}`, x1: 0, x2: 28, y1: 4, y2: 4 }));
        return make('li', {}, swatch, make('span', {}, line.name), this.values[n]);
      }));
    }

    // Each row is a step from its beginning to its end.
    path(values, y) {
      const { end, seconds } = this.history;
      let path = '', right = null;
      values.forEach((value, i) => {
        if (value === null) { right = null; return; }
        const [from, to, at] = [this.x(end[i] - seconds[i]), this.x(end[i]), y(value)].map((n) => n.toFixed(1));
        const isNext = right !== null && Math.abs(from - right) < 2;
        path += `${isNext ? 'L' : 'M'}${isNext ? right : from} ${at}L${to} ${at}`;
        right = to;
      });
      return path;
    }

    showCursor() {
      if (!facts) return;
      const isEmpty = this.history.end.length === 0, at = this.at();
      const values = this.lines.map((line) => this.value(line, at));
      const when = isEmpty ? RANGES[range].empty : this.when(at);
      setText(this.time, isEmpty || this.cursor !== null ? when : `latest, ${when}`);
      values.forEach((value, n) => setText(this.values[n], value));
      this.mark.setAttribute('visibility', this.cursor === null || isEmpty ? 'hidden' : 'visible');
      if (!isEmpty) {
        const x = this.x(this.history.end[at] - this.history.seconds[at] / 2);
        this.mark.setAttribute('x1', x);
        this.mark.setAttribute('x2', x);
      }
      const told = isEmpty ? when : `${when}: ${this.lines.map((line, n) => `${line.name} ${values[n]}`).join('; ')}`;
      for (const [name, value] of [['valuemax', this.last()], ['valuenow', at], ['valuetext', told]]) {
        this.plot.setAttribute(`aria-${name}`, value);
      }
    }

    showTable() {
      if (!this.details.open || !facts) return;
      const rows = this.history.end.map((_, i) => [this.when(i), ...this.lines.map((line) => this.value(line, i))]);
      const headings = ['Until', ...this.lines.map((line) => line.name)], { empty } = RANGES[range];
      if (this.isNewTable([headings, rows, empty])) fill(this.table, headings, rows.reverse(), empty);
    }
  }

  // Fills a table: a row of headings, and rows that begin with one.
  const fill = (table, headings, rows, empty) => {
    const cell = (text, i) => i === 0 ? make('th', { scope: 'row' }, text) : make('td', {}, text);
    const body = rows.length ? rows.map((row) => make('tr', {}, ...row.map(cell)))
      : [make('tr', {}, make('td', { colspan: headings.length }, empty))];
    table.replaceChildren(
      make('thead', {}, make('tr', {}, ...headings.map((heading) => make('th', { scope: 'col' }, heading)))),
      make('tbody', {}, ...body),
    );
  };

  const plots = PLOTS.map((plot) => new Plot(plot));

  const total = (what, of = facts) => sum(leaves(of.requests[what], 2).map((leaf) => leaf[2]));

  // Requests a second: of the last minute as far as it was watched; before that, of what the tracker remembers.
  const perSecond = (what) => {
    const [first, last] = [looks[0], looks[looks.length - 1]];
    if (last.uptime > first.uptime) return (last[what] - first[what]) / (last.uptime - first.uptime);
    const { requests, seconds } = facts.minutes, row = seconds.length - 1;
    if (row < 0) return facts.uptime > 0 ? total(what) / facts.uptime : 0;
    return sum(leaves(requests[what], 2).map((leaf) => leaf[2][row])) / seconds[row];
  };

  const REQUESTS = ['announces', 'connects', 'scrapes'];

  // What differs by no more than a way and a whole second differs by nothing: no row shall have now one time, now another.
  const compareClocks = () => {
    const found = Date.now() - 1000 * facts.time;
    if (Math.abs(found - zero) > 2000) zero = found;
  };

  const note = () => {
    const seen = { uptime: facts.uptime, start: facts.time - facts.uptime };
    REQUESTS.forEach((what) => { seen[what] = total(what); });
    // A tracker that was restarted counts anew: another process began at another time, which is said in whole seconds.
    const before = looks[looks.length - 1];
    if (before && Math.abs(seen.start - before.start) > 2) looks = [];
    looks.push(seen);
    looks = looks.filter((one) => 1000 * (seen.uptime - one.uptime) <= WINDOW);
  };

  const tiles = [
    ['now-torrents', 'Torrents', () => whole(facts.torrents)],
    ['now-peers', 'Peers', () => whole(facts.peers)],
    ['now-seeders', 'Seeders', () => whole(facts.seeders)],
    ['now-announces', 'Announces a second', () => rate(perSecond('announces'))],
    ['now-connects', 'Connects a second', () => rate(perSecond('connects'))],
    ['now-scrapes', 'Scrapes a second', () => rate(perSecond('scrapes'))],
    ['now-completed', 'Completed downloads', () => whole(facts.completed)],
    ['now-memory', 'Memory', () => facts.memory === null ? 'unknown' : bytes(facts.memory)],
    ['now-uptime', 'Running for', () => duration(facts.uptime)],
  ].map(([id, title, value]) => {
    const shown = make('dd', { id });
    byId('tiles').append(make('div', {}, make('dt', {}, title), shown));
    return () => setText(shown, value());
  });

  // A section with a table; where there are no rows there is no section.
  const section = (id, title, headings, rows) => {
    const table = make('table', { 'aria-labelledby': `${id}-title` });
    const scroll = make('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-labelledby': `${id}-title` }, table);
    const box = make('section', { id }, make('h3', { id: `${id}-title` }, title), scroll);
    byId('facts').append(box);
    const isNew = changes();
    return () => {
      const now = rows();
      box.hidden = now.length === 0;
      if (isNew(now.map((row) => row.map((cell) => cell.outerHTML ?? cell)))) fill(table, headings, now, '');
    };
  };

  const share = (name, used, limit, format) => {
    if (used === null) return [name, 'unknown', format(limit), ''];
    const meter = make('meter', { min: 0, max: limit, high: limit * 0.9, value: used, 'aria-label': `${name}: share of the limit` });
    return [name, format(used), format(limit), meter];
  };
  const sections = [
    section('room', 'Room', ['of what', 'now', 'limit', 'share'], () => [
      share('Torrents', facts.torrents, facts.limits.torrents, whole),
      share('Peers', facts.peers, facts.limits.peers, whole),
      share('Memory', facts.memory, facts.limits.memory, bytes),
    ]),
    section('requests', 'Requests answered', ['request', 'protocol', 'family', 'number'], () => REQUESTS.flatMap((what) =>
      leaves(facts.requests[what], 2).map(([protocol, family, count]) =>
        [what, PROTOCOLS[protocol], FAMILIES[family], whole(count)]))),
    section('error-kinds', 'Errors', ['kind', 'protocol', 'number'], () => leaves(facts.errors, 2)
      .map(([protocol, kind, count]) => [words(kind), PROTOCOLS[protocol], whole(count)])),
    section('list', 'Access list', ['what', 'value'], () => facts.list === null ? [] : [
      ['torrents', whole(facts.list.torrents)],
      ['read', new Date(1000 * facts.list.read).toLocaleString()],
      ['could not be read again', whole(facts.list.failed_reloads)],
    ]),
    section('cluster', 'Cluster', ['transport', 'members', 'lag', 'received', 'sent', 'connected'], () => facts.cluster.map((one) =>
      [one.title, whole(one.members), one.received ? duration(one.lag) : '–', whole(one.received), whole(one.sent),
        one.connected === null ? '–' : one.connected ? 'yes' : 'no'])),
    section('build', 'Build', ['what', 'value'], () => [
      ['version', facts.build.version], ['commit', facts.build.commit],
      ['features', facts.build.features.join(', ') || 'none'],
      ['forgotten for want of room', `${whole(facts.taken.torrents)} torrents, ${whole(facts.taken.peers)} peers`],
      ['full scrapes', whole(facts.full_scrapes)],
    ]),
  ];

  const show = () => {
    tiles.forEach((tile) => tile());
    plots.forEach((plot) => plot.show());
    sections.forEach((one) => one());
    setText(byId('updated'), `updated ${new Date().toLocaleTimeString()}`);
  };

  const say = (state, isStale) => {
    setText(byId('state'), state);
    document.body.classList.toggle('stale', isStale);
  };

  // Asks for the numbers. Where there are none, it says why.
  const ask = async () => {
    const giveUp = new AbortController(), patience = setTimeout(() => giveUp.abort(), PATIENCE);
    try {
      const reply = await fetch(SOURCE, { cache: 'no-store', signal: giveUp.signal });
      if (reply.ok) return await reply.json();
      say(reply.status === 403 ? 'This address may not read the statistics' : `The tracker answers ${reply.status}`, true);
    } catch {
      say('The tracker is not reachable', true);
    } finally {
      clearTimeout(patience);
    }
    return null;
  };

  const take = (numbers) => {
    if (numbers.format !== FORMAT) {
      say('The tracker has changed: reload this page', true);
      return;
    }
    facts = numbers;
    compareClocks();
    note();
    show();
    say('Live', false);
  };

  const look = async () => {
    if (isLooking || document.hidden) return;
    isLooking = true;
    clearTimeout(timer);
    try {
      const numbers = await ask();
      if (numbers) take(numbers);
    } catch (fault) {
      // The tracker has answered: this is a fault of the page.
      console.error(fault);
      say('This page cannot show the numbers: the console says why', true);
    }
    isLooking = false;
    if (document.hidden) say('Paused', false);
    else timer = setTimeout(look, PAUSE);
  };

  byId('plots').append(...plots.map((plot) => plot.figure));
  document.querySelectorAll('[name=range]').forEach((choice) => choice.addEventListener('change', () => {
    range = choice.value;
    if (facts) plots.forEach((plot) => { plot.cursor = null; plot.show(); });
  }));
  document.addEventListener('visibilitychange', () => {
    clearTimeout(timer);
    if (document.hidden) say('Paused', false);
    else look();
  });
  // A browser may restore the chosen range of an earlier visit.
  range = document.querySelector('[name=range]:checked').value;
  look();
})();
