// Without this file all works but for copying and ticking all at once: text can be marked, boxes ticked one by one.
for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const text = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.textContent = "Copied";
    } catch {  // the browser does not let pages copy
      getSelection().selectAllChildren(text);
      button.textContent = "Marked: copy it";
    }
    document.getElementById("said").textContent = button.textContent;
  });
}
for (const all of document.querySelectorAll("[data-all]")) {
  all.closest("label").hidden = false;
  all.addEventListener("change", () => {
    for (const box of document.querySelectorAll(`input[name="${all.dataset.all}"]`)) box.checked = all.checked;
    choose();
  });
}
const choose = () => {
  const ticked = document.querySelector('input[name="which"][value="ticked"]');
  if (ticked && document.querySelector('input[name="id"]:checked')) ticked.checked = true;
};
for (const box of document.querySelectorAll('input[name="id"]')) box.addEventListener("change", choose);
