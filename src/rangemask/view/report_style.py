"""How a report looks: one style sheet, inline, for light and dark, screen, phone and paper."""

STYLE = """
:root { color-scheme: light dark;
  --page: #f4f5f7; --card: #ffffff; --ink: #14171c; --soft: #59626f; --line: #e1e5ea;
  --accent: #0067a3; --tint: #eef3f7; --warn: #8a5200; --warn-back: #fff4e0; --good: #00684c;
  --good-back: #e2f5ee; --bar: #8fbfdf; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0f1115; --card: #181b21; --ink: #e9ebef; --soft: #9ba5b3; --line: #2b3039;
  --accent: #6cbdf0; --tint: #20252d; --warn: #f3bd6c; --warn-back: #33270f; --good: #74d6b2;
  --good-back: #10302a; --bar: #2f6389; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif; }
main, header.top, footer { max-width: 1320px; margin: 0 auto; padding: 0 clamp(14px, 3vw, 36px); }
header.top { padding-top: clamp(24px, 5vw, 52px); }
h1 { font-size: clamp(26px, 4vw, 38px); line-height: 1.15; letter-spacing: -.02em; margin: 0;
  overflow-wrap: anywhere; }
h2 { font-size: 20px; line-height: 1.25; letter-spacing: -.01em; margin: 0;
  overflow-wrap: anywhere; }
h3 { font-size: 13px; margin: 0 0 6px; color: var(--soft); font-weight: 600; }
p { margin: 6px 0; }
a { color: var(--accent); text-underline-offset: 2px; }
a:focus-visible, summary:focus-visible, .scroll:focus-visible { outline: 3px solid var(--accent);
  outline-offset: 2px; border-radius: 4px; }
.soft { color: var(--soft); }
.lead { color: var(--soft); font-size: 16px; margin: 8px 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px;
  margin: 26px 0 0; padding: 0; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 14px 16px; }
.tile dt { color: var(--soft); font-size: 13px; }
.tile dd { margin: 2px 0 0; font-size: 24px; font-weight: 650; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; line-height: 1.25; overflow-wrap: anywhere; }
.tile dd small { font-size: 14px; font-weight: 500; color: var(--soft); letter-spacing: 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: clamp(14px, 2vw, 24px); margin: 20px 0; }
.scene-head { display: flex; flex-wrap: wrap; gap: 6px 12px; align-items: baseline;
  margin-bottom: 14px; }
.scene-head .soft { font-variant-numeric: tabular-nums; }
.badge { display: inline-block; border-radius: 99px; padding: 1px 10px; font-size: 13px;
  font-weight: 600; background: var(--tint); color: var(--soft); white-space: nowrap; }
.badge.commercial-ok { background: var(--good-back); color: var(--good); }
.badge.research-only { background: var(--warn-back); color: var(--warn); }
.warnings { margin: 0 0 16px; padding: 10px 14px 10px 32px; border-radius: 10px;
  background: var(--warn-back); color: var(--warn); overflow-wrap: anywhere; }
header.top .warnings { margin: 16px 0 0; }
.pictures { display: grid; gap: 16px; }
@media (min-width: 760px) { .pictures { grid-template-columns: repeat(6, minmax(0, 1fr)); }
  .pictures figure { grid-column: span 3; }
  .pictures.n3 figure, .pictures.n5 figure:nth-child(n+3) { grid-column: span 2; } }
figure { margin: 0; min-width: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 8px;
  background: var(--tint); }
figcaption { color: var(--soft); font-size: 13px; margin-top: 5px; }
.scroll { overflow: auto; max-height: 30rem; margin-top: 18px; border: 1px solid var(--line);
  border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 7px 12px; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: middle; }
tbody tr:last-child > * { border-bottom: 0; }
thead th { position: sticky; top: 0; background: var(--card); color: var(--soft); font-size: 13px;
  font-weight: 600; box-shadow: inset 0 -1px var(--line); border-bottom: 0; z-index: 1; }
td.n, th.n { text-align: right; }
tbody th { font-weight: 600; white-space: normal; overflow-wrap: anywhere; min-width: 8rem; }
td.wrap { white-space: normal; overflow-wrap: anywhere; min-width: 12rem; }
td.strong { font-weight: 650; }
.swatch { display: inline-block; width: 13px; height: 13px; border-radius: 4px; margin-right: 8px;
  vertical-align: -1px; box-shadow: inset 0 0 0 1px rgba(0, 0, 0, .35); }
.range { position: relative; width: 150px; height: 12px; }
.range i { position: absolute; display: block; }
.range .axis { left: 0; right: 0; top: 5px; height: 2px; border-radius: 1px;
  background: var(--line); }
.range .span { top: 3px; height: 6px; border-radius: 3px; background: var(--bar); min-width: 3px; }
.range .mid { top: 0; width: 3px; height: 12px; margin-left: -1px; border-radius: 2px;
  background: var(--accent); }
details { margin-top: 14px; border-top: 1px solid var(--line); padding-top: 10px; }
summary { cursor: pointer; font-weight: 600; color: var(--soft); }
details[open] summary { margin-bottom: 10px; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr));
  gap: 8px 20px; margin: 0 0 14px; }
.facts dt { color: var(--soft); font-size: 13px; }
.facts dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
footer { color: var(--soft); font-size: 13px; padding-top: 10px; padding-bottom: 40px; }
@media print { body { background: #fff; } .card { break-inside: avoid; }
  .scroll { max-height: none; } }
"""
