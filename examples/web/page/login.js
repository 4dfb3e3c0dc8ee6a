// Tells the token, which comes back as a cookie that no script can read. An address may bring it along, behind a #: that part
// is sent to nobody.

const form = document.querySelector("form");
const answer = form.querySelector("[role=alert]");

async function tell(token) {
  answer.textContent = "";
  try {
    const response = await fetch("login", { method: "POST", body: token });
    if (response.ok) {
      location.reload();
    } else {
      answer.textContent = await response.text();
      form.token.select();
    }
  } catch {
    answer.textContent = "The program does not answer.";
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  tell(form.token.value);
});

const brought = new URLSearchParams(location.hash.slice(1)).get("token");
if (brought) {
  history.replaceState(null, "", location.pathname);
  tell(brought);
}
