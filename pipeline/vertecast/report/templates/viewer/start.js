// Bring the page to life: each viewer when it comes into view, and the switch of light and dark.

async function start(element) {
  const scene = JSON.parse(document.getElementById(`scene-${element.dataset.scene}`).textContent);
  const grid = await Grid.of(scene);
  element.viewer = new Viewer(element, scene, grid);
  element.closest(".stage").classList.add("live");
}

// The static pictures stay where the browser cannot unpack the slices.
if ("DecompressionStream" in window) {
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        start(target.querySelector(".viewer"));
      }
    },
    { rootMargin: "600px" },
  );
  document.querySelectorAll(".stage:has(.viewer)").forEach((stage) => seen.observe(stage));
}
