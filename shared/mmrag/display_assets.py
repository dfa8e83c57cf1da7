"""The look of a gallery and of a page: style sheets and the colour of each route."""

from __future__ import annotations

__all__ = ["GALLERY_CSS", "PAGE_CSS", "ROUTE_COLOURS"]

ROUTE_COLOURS: dict[str, str] = {
    "text->text": "#0a7abf",
    "text->caption": "#4fb3e8",
    "text->image": "#e08a00",
    "image->image": "#cf4a12",
    "image->text": "#c26a9d",
    "keywords": "#0a9a74",
}
"""After Okabe and Ito, told apart by the colour-blind, each seen on white and on black; any other
route is grey. The order is that of the segments in a bar."""

_ROUTES_CSS = "".join(
    f".mmrag .mmrag-route-{number}{{background:{colour}}}\n"
    for number, colour in enumerate(ROUTE_COLOURS.values(), start=1)
)

# Every rule is under .mmrag, so that nothing of the notebook around it changes. Text takes the
# notebook's own colour, and lines and surfaces are a transparent grey: right on light and dark.
GALLERY_CSS = (
    """
.mmrag{--mmrag-line:rgba(128,128,128,.28);--mmrag-wash:rgba(128,128,128,.09);
color:var(--mmrag-ink,var(--jp-content-font-color1,var(--vscode-editor-foreground,inherit)));
font:14px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","PingFang SC",
"Microsoft YaHei","Noto Sans CJK SC",sans-serif;text-align:left}
.mmrag *{box-sizing:border-box}
.mmrag .mmrag-ask{display:flex;align-items:center;gap:14px;margin:4px 0 14px}
.mmrag .mmrag-ask-picture{display:block;width:88px;height:88px;margin:0;object-fit:cover;
border-radius:8px;border:1px solid var(--mmrag-line)}
.mmrag .mmrag-ask .mmrag-missing{width:220px;height:88px;border-radius:8px}
.mmrag .mmrag-ask-text{font-size:17px;line-height:1.4;font-weight:600;overflow-wrap:anywhere}
.mmrag .mmrag-quiet{opacity:.72;font-size:12px}
.mmrag .mmrag-grid{display:grid;gap:16px;align-items:stretch;
grid-template-columns:repeat(auto-fill,minmax(min(100%,250px),1fr))}
.mmrag .mmrag-card{display:flex;flex-direction:column;min-width:0;overflow:hidden;
border:1px solid var(--mmrag-line);border-radius:10px;
background:var(--mmrag-card,var(--jp-layout-color1,var(--vscode-editor-background,transparent)))}
.mmrag .mmrag-media{aspect-ratio:4/3;background:var(--mmrag-wash);overflow:hidden;
border-bottom:1px solid var(--mmrag-line)}
.mmrag .mmrag-picture{display:block;width:100%;height:100%;max-width:none;margin:0;
object-fit:contain}
.mmrag .mmrag-cover{object-fit:cover}
.mmrag .mmrag-text{display:grid;align-content:center;padding:14px 18px}
.mmrag .mmrag-passage{font-size:14px;line-height:22px;overflow-wrap:anywhere;overflow:hidden;
display:-webkit-box;-webkit-box-orient:vertical;-webkit-line-clamp:7}
@media (max-width:560px){.mmrag .mmrag-text{aspect-ratio:auto;padding:18px}}
.mmrag .mmrag-missing{display:flex;flex-direction:column;align-items:center;gap:6px;height:100%;
justify-content:center;padding:14px;text-align:center;font-size:12px;overflow-wrap:anywhere;
background:repeating-linear-gradient(45deg,transparent 0 7px,var(--mmrag-wash) 7px 14px)}
.mmrag mark{background:rgba(246,190,0,.36);color:inherit;border-radius:3px;padding:0 1px}
.mmrag .mmrag-body{display:flex;flex-direction:column;flex:1;gap:8px;padding:12px 16px 12px}
.mmrag .mmrag-head{display:flex;align-items:baseline;gap:8px}
.mmrag .mmrag-name{flex:1;min-width:0;font-weight:600;overflow:hidden;text-overflow:ellipsis;
white-space:nowrap}
.mmrag .mmrag-score{font-weight:600;font-variant-numeric:tabular-nums}
.mmrag .mmrag-where{display:flex;align-items:center;flex-wrap:wrap;gap:4px 10px;font-size:12px;
min-height:22px}
.mmrag .mmrag-badge{padding:1px 8px;border:1px solid var(--mmrag-line);border-radius:99px;
background:var(--mmrag-wash);font-size:11px;letter-spacing:.02em}
.mmrag .mmrag-page{display:block;width:18px;height:24px;flex:none}
.mmrag .mmrag-note{font-size:13px;line-height:1.5;overflow-wrap:anywhere}
.mmrag .mmrag-why{margin-top:auto;padding-top:4px}
.mmrag .mmrag-grid:has(details[open]) .mmrag-why{margin-top:0}
.mmrag .mmrag-bar{display:flex;gap:2px;height:6px;border-radius:3px;overflow:hidden;
background:var(--mmrag-wash);margin-bottom:8px}
.mmrag .mmrag-bar span{min-width:2px}
.mmrag .mmrag-row{display:grid;grid-template-columns:auto 1fr auto 3.6em;gap:8px;
align-items:baseline;font-size:12px;line-height:1.7;font-variant-numeric:tabular-nums}
.mmrag .mmrag-row span:last-child{text-align:right}
.mmrag .mmrag-dot{width:8px;height:8px;border-radius:2px}
.mmrag .mmrag-clip{min-width:0;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.mmrag details{margin:0;font-size:12px}
.mmrag summary{cursor:pointer;opacity:.72;width:max-content}
.mmrag summary:hover{opacity:1}
.mmrag .mmrag-fact{margin-top:6px;overflow-wrap:anywhere}
.mmrag .mmrag-whole{margin-top:8px;max-height:240px;overflow:auto;white-space:pre-wrap;
overflow-wrap:anywhere;line-height:1.6}
.mmrag .mmrag-route{background:#8b929c}
"""
    + _ROUTES_CSS
)

PAGE_CSS = """
:root{color-scheme:light dark;--mmrag-ink:#1d2126;--mmrag-card:#fff;--paper:#f7f7f5}
@media (prefers-color-scheme:dark){
:root{--mmrag-ink:#e3e5e8;--mmrag-card:#1f2227;--paper:#15171a}}
body{margin:0;background:var(--paper);-webkit-text-size-adjust:100%}
.mmrag-document{max-width:1240px;margin:0 auto;padding:clamp(28px,5vw,64px) clamp(16px,4vw,40px)}
.mmrag h1{margin:0 0 20px;font-size:clamp(26px,3.4vw,36px);line-height:1.2;font-weight:680;
letter-spacing:-.015em;overflow-wrap:anywhere}
.mmrag section{margin-top:clamp(40px,5vw,64px);padding-top:clamp(28px,3vw,40px);
border-top:1px solid var(--mmrag-line)}
.mmrag h2{margin:0 0 6px;font-size:21px;line-height:1.3;font-weight:640;overflow-wrap:anywhere}
.mmrag p{margin:0 0 16px;max-width:68ch;opacity:.8;overflow-wrap:anywhere}
.mmrag .mmrag-legend{max-width:76ch;font-size:14px}
.mmrag .mmrag-keys{display:flex;flex-wrap:wrap;gap:6px 20px;font-size:13px}
.mmrag .mmrag-key{display:inline-flex;align-items:center;gap:7px}
@media print{.mmrag .mmrag-card{break-inside:avoid}}
"""
