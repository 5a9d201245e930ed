"""What is run inside a page that is rendered: a look at how far it is, and its final tree as HTML.

Both run in a world of their own, where nothing that the page's scripts have changed can be seen, and bound what they
look at, for a page may grow without end. Properties are read by their getters: ``<input name=childNodes>`` would give
the property of that name to its form, and an image could do it to the document. Neither changes the page, which would
run the page's scripts again.
"""

from __future__ import annotations

import json

MAX_LOOKED_AT = 60_000  # nodes counted at each look; beyond it a page is rich enough
MAX_NODES = 400_000  # of a whole page; the largest documentation in one page has half of it

_GETTERS = """
  const getter = (type, name) => {
    const read = Object.getOwnPropertyDescriptor(type.prototype, name).get;
    return node => read.call(node);
  };
  const typeOf = getter(Node, 'nodeType'), dataOf = getter(CharacterData, 'data');
  const nameOf = getter(Element, 'localName'), shadowOf = getter(Element, 'shadowRoot');
"""

_LOOK = """
(limit => {%s
  const unread = new Set(['script', 'style', 'noscript', 'template']);
  const kept = node => typeOf(node) === 1 && unread.has(nameOf(node)) ? 2 : 1;
  const roots = [document];
  let characters = 0, nodes = 0;
  while (roots.length && nodes < limit) {
    const walker = Document.prototype.createTreeWalker.call(document, roots.pop(), 5, kept);
    for (let node = walker.nextNode(); node && nodes < limit; node = walker.nextNode()) {
      nodes += 1;
      if (typeOf(node) === 3) characters += dataOf(node).trim().length;
      else if (shadowOf(node)) roots.push(shadowOf(node));
    }
  }
  return [getter(Document, 'readyState')(document), characters, location.href];
})(%d)
"""

# What stands in an open shadow root is written into its host, what is slotted into its slot, as a reader sees it; a
# template would not be read as text. A stack instead of recursion, for nesting has no limit.
_SERIALISE = """
((limit, most, url) => {%s
  const empty = new Set('area base br col embed hr img input link meta param source track wbr'.split(' '));
  const raw = new Set('script style xmp iframe noembed noframes plaintext noscript'.split(' '));
  const escapes = {'&': '&amp;', '\\u00a0': '&nbsp;', '<': '&lt;', '>': '&gt;', '"': '&quot;'};
  const text = data => data.replace(/[&\\u00a0<>]/g, one => escapes[one]);
  const value = data => data.replace(/[&\\u00a0<>"]/g, one => escapes[one]);
  const attributesOf = getter(Element, 'attributes'), childrenOf = getter(Node, 'childNodes');
  const parentOf = getter(Node, 'parentNode'), rootOf = Node.prototype.getRootNode;
  const address = getter(Node, 'baseURI')(document);
  const moved = !Document.prototype.querySelector.call(document, 'base[href]') && address.split('#')[0] !== url;
  const parts = ['<!DOCTYPE html>'];
  let size = 0, nodes = 0;
  const put = part => { parts.push(part); size += part.length; };
  const isRaw = node => node && typeOf(node) === 1 && raw.has(nameOf(node));
  const within = (node, name) => {
    const shadow = shadowOf(node);
    if (shadow) return childrenOf(shadow);
    if (name === 'slot' && node.assignedNodes?.().length) return node.assignedNodes();
    return childrenOf(name === 'template' && node.content || node);
  };
  const open = (node, name) => {
    put('<' + name);
    for (const one of attributesOf(node)) put(` ${one.name}="${value(one.value)}"`);
    put('>');
    if (name === 'head' && moved) put(`<base href="${value(address)}">`);
  };
  const stack = [getter(Document, 'documentElement')(document)];
  while (stack.length) {
    const node = stack.pop();
    nodes += 1;
    if (size > limit || nodes > most) return null;
    if (typeof node === 'string') put(node);
    else if (node && typeOf(node) === 3) put(isRaw(parentOf(node)) ? dataOf(node) : text(dataOf(node)));
    else if (node && typeOf(node) === 1) {
      const name = nameOf(node);
      if (name === 'style' && rootOf.call(node) !== document) continue;
      open(node, name);
      if (empty.has(name)) continue;
      stack.push(`</${name}>`);
      const children = within(node, name);
      for (let index = children.length - 1; index >= 0; index--) stack.push(children[index]);
    }
  }
  return parts.join('');
})(%d, %d, %s)
"""


def look() -> str:
    """Gives [state of the document, characters of text, address]."""
    return _LOOK % (_GETTERS, MAX_LOOKED_AT)


def serialise(limit: int, url: str) -> str:
    """Gives the HTML, or null when it has more than ``limit`` characters or too many nodes.

    ``url`` is the page's own; when scripts have changed the address, a ``base`` says what links are relative to.
    """
    return _SERIALISE % (_GETTERS, limit, MAX_NODES, json.dumps(url))
