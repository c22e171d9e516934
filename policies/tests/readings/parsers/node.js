// One target a line; for each a line of what Node makes of its path, as `d:HEX` (decoded) or `r:HEX` (not decoded).
const path = require('path').posix;
const url = require('url');
const lines = require('readline').createInterface({ input: process.stdin, terminal: false });
const item = (kind, text) => `${kind}:${Buffer.from(text, 'utf8').toString('hex')}`;
const attempt = (make) => { try { return [make()]; } catch { return []; } };
lines.on('line', (target) => {
  const bare = target.split('?')[0];
  const whatwg = () => new URL(target, 'http://host.example').pathname;
  const found = [
    ...attempt(() => item('r', whatwg())),
    ...attempt(() => item('d', decodeURIComponent(whatwg()))),
    ...attempt(() => item('d', path.normalize(decodeURIComponent(whatwg())))),
    ...attempt(() => item('r', path.normalize(bare))),
    ...attempt(() => item('d', decodeURIComponent(path.normalize(bare)))),
    ...attempt(() => item('d', path.normalize(decodeURIComponent(bare)))),
    ...attempt(() => item('d', path.normalize(decodeURIComponent(decodeURIComponent(bare))))),
    ...attempt(() => item('d', path.join('/', path.normalize(unescape(bare))))),
    ...attempt(() => item('r', url.parse(target).pathname)),
    ...attempt(() => item('d', path.resolve('/', decodeURIComponent(url.parse(target, false, true).pathname || '/')))),
  ];
  console.log(found.join(' '));
});
