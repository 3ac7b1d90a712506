// Texts whose contrast to the ground behind them is under 4.5:1 (3:1 when large), as WCAG 2 counts it.
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((one, place) => (place === 3 ? one / 255 : one));
  };
  const over = (top, under) => [0, 1, 2].map((part) => top[part] * top[3] + under[part] * (1 - top[3]));
  const ground = (node) => {
    const above = [];
    for (let one = node; one; one = one.parentElement) above.push(rgba(getComputedStyle(one).backgroundColor));
    return above.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const light = (colour) => {
    const [r, g, b] = colour.map((one) => (one / 255 <= 0.04045 ? one / 255 / 12.92 : ((one / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const weak = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].filter((one) => one.nodeType === 3).map((one) => one.textContent.trim()).join("");
    if (!own || !node.checkVisibility() || node.closest("svg, .away, .skip, option")) continue;
    const style = getComputedStyle(node);
    const behind = ground(node);
    const ink = over(rgba(style.color), behind);
    const [more, less] = [light(ink), light(behind)].sort((one, other) => other - one);
    const ratio = (more + 0.05) / (less + 0.05);
    const size = parseFloat(style.fontSize);
    if (ratio < (size >= 24 || (size >= 18.6 && style.fontWeight >= 700) ? 3 : 4.5)) weak.push(`${own.slice(0, 30)} ${ratio.toFixed(2)}`);
  }
  return [...new Set(weak)];
}
