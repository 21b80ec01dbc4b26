// A click makes a bar as wide as the picture, Search or / looks for a regular expression. Both are in the address: #zoom=N&search=TEXT.
(() => {
  const root = document.documentElement, at = id => document.getElementById(id)
  const bars = [...document.querySelectorAll('.f')].map((el, n) => {
    const title = el.querySelector('title').textContent, x = parseFloat(el.getAttribute('x')), w = parseFloat(el.getAttribute('width'))
    return { el, n, title, name: title.split('\n')[0], x, w, end: x + w, y: +el.getAttribute('y'), text: el.querySelector('text') }
  })
  const hint = at('details').textContent, near = 0.002 // the addresses are rounded, in percent
  let zoomed = 0, wanted = ''

  const draw = () => {
    const z = bars[zoomed], width = root.getBoundingClientRect().width || 1200
    for (const b of bars) {
      const above = b.y < z.y && b.x <= z.x + near && b.end >= z.end - near
      const within = b.y >= z.y && b.x >= z.x - near && b.end <= z.end + near
      b.el.style.display = above || within ? '' : 'none'
      if (!above && !within) continue
      const x = above ? 0 : (b.x - z.x) / z.w * 100, w = above ? 100 : b.w / z.w * 100
      b.el.setAttribute('x', x + '%')
      b.el.setAttribute('width', w + '%')
      b.el.classList.toggle('caller', above)
      const letters = Math.floor((w / 100 * width - 6) / 6.3)
      if (letters < 5) { if (b.text) b.text.textContent = ''; continue }
      if (!b.text) {
        b.text = document.createElementNS('http://www.w3.org/2000/svg', 'text')
        b.text.setAttribute('x', 3)
        b.text.setAttribute('y', 12)
        b.el.appendChild(b.text)
      }
      b.text.textContent = b.name.length <= letters ? b.name : b.name.slice(0, letters - 1) + '…'
    }
    at('reset').style.display = zoomed ? 'inline' : 'none'
  }

  const find = () => {
    let pattern = null
    try { pattern = wanted ? new RegExp(wanted, 'i') : null } catch (e) { at('matched').textContent = e.message; return }
    let matched = 0, end = -1 // what is below a bar that was found is counted with it
    for (const b of bars) {
      const hit = !!pattern && pattern.test(b.name)
      b.el.classList.toggle('hit', hit)
      if (hit && b.x >= end - near) { matched += b.w; end = b.end }
    }
    at('matched').textContent = pattern ? 'Found ' + wanted + ': ' + matched.toFixed(1) + ' %' : ''
  }

  const keep = () => {
    const words = new URLSearchParams()
    if (zoomed) words.set('zoom', zoomed)
    if (wanted) words.set('search', wanted)
    try { history.replaceState(null, '', '#' + words) } catch (e) { /* in a frame without an address */ }
  }
  const zoom = n => { zoomed = n < bars.length ? n : 0; draw(); keep() }
  const search = () => { const answer = prompt('Names to find (regular expression)', wanted); if (answer !== null) { wanted = answer; find(); keep() } }

  const words = new URLSearchParams(location.hash.slice(1))
  wanted = words.get('search') || ''
  zoomed = Math.min(Math.max(parseInt(words.get('zoom')) || 0, 0), Math.max(bars.length - 1, 0))
  for (const b of bars) {
    b.el.addEventListener('click', () => zoom(b.n))
    b.el.addEventListener('mouseenter', () => { at('details').textContent = b.title.split('\n').join(' · ') })
    b.el.addEventListener('mouseleave', () => { at('details').textContent = hint })
  }
  at('search').addEventListener('click', search)
  at('reset').addEventListener('click', () => zoom(0))
  addEventListener('keydown', e => {
    if (e.key === '/') { e.preventDefault(); search() }
    if (e.key === 'Escape') { wanted = ''; find(); zoom(0) }
  })
  addEventListener('resize', draw)
  if (bars.length) { draw(); find() }
})()
