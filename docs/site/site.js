// Search in the pages' own words, without a network; types of names in code; the menu folded on a narrow screen.
const root = document.documentElement.dataset.root;
const query = document.getElementById("query");
const found = document.getElementById("found");

const rank = (page, words) => {
    const title = page.title.toLowerCase(), content = page.content.toLowerCase();
    let sum = 0;
    for (const word of words) {
        const worth = title === word ? 8 : title.includes(word) ? 4 : content.includes(word) ? 1 : 0;
        if (worth === 0) return 0;
        sum += worth;
    }
    return sum;
};

query.addEventListener("input", () => {
    const words = query.value.toLowerCase().split(/\s+/).filter(word => word.length > 1);
    found.hidden = words.length === 0;
    found.replaceChildren();
    if (words.length === 0) return;
    const pages = window.pages.map(page => [rank(page, words), page]).filter(([worth]) => worth > 0);
    pages.sort((a, b) => b[0] - a[0] || a[1].title.length - b[1].title.length);
    const list = document.createElement("ul");
    for (const [, page] of pages.slice(0, 20)) {
        const link = Object.assign(document.createElement("a"), { href: root + page.uri, textContent: page.title });
        list.appendChild(document.createElement("li")).appendChild(link);
    }
    found.append(pages.length === 0 ? "Nothing has these words." : list);
});

document.addEventListener("mouseover", event => {
    const name = event.target.closest("[data-fsdocs-tip]");
    const tip = name && document.getElementById(name.dataset.fsdocsTip);
    if (!tip) return;
    tip.style.position = "fixed";
    tip.style.left = `${Math.min(event.clientX, window.innerWidth - 320)}px`;
    tip.style.top = `${event.clientY + 18}px`;
    tip.showPopover();
    name.addEventListener("mouseleave", () => tip.hidePopover(), { once: true });
});

if (window.innerWidth < 800) document.getElementById("menu").open = false;
