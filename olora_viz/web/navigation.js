// Shows one page, the one that the URL's fragment names, and marks its link.
const links = [...element.querySelectorAll("a")];
const names = links.map((link) => link.getAttribute("href").slice(1));
const show = () => {
  const wanted = window.location.hash.slice(1);
  const page = names.includes(wanted) ? wanted : names[0];
  document.documentElement.dataset.page = page;
  links.forEach((link, i) => {
    if (names[i] === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  });
};
window.addEventListener("hashchange", show);
show();
