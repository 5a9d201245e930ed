"""Finding, in little time, the few texts of a document that are worth to be scored; see ingest.injection.

Next to no page holds an order to a model, so all text is only looked over for anchors: beginnings of words of which
every text that scores enough has one, unless all of it is written in code. Measured over 80 million characters of
manuals that costs 20 ns a character, where letters have accents twice that, and one section in forty is looked at more
closely.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from ray_app.ingest.injection.reading import KEY_WORDS, MARKS, folded


def _listed(words: str) -> list[str]:
    return words.split(",")


# Each stands after a sign or space; a space at the end ends the word.
_ANCHORS = _listed(
    "ignore all ,ignore any ,ignore above,ignore as ,ignore ear,ignore every,ignore instr,ignore my,ignore prev,"
    "ignore pri,ignore prec,ignore the above,ignore the con,ignore the doc,ignore the ear,ignore the guid,"
    "ignore the instr,ignore the prev,ignore the pri,ignore the ret,ignore the rule,ignore the sys,ignore the text,"
    "ignore the user,ignore these,ignore to,ignore what,ignore your,ignore las,ignoriere ,ignora t,ignora le,"
    "ignora las,ignorez t,ignorez les,ignoruj,zignoruj,disregard,forget a,forget ev,forget prev,forget pri,"
    "forget the inst,forget the rule,forget what,forget your,bypass your,override your,set aside,pay no ,"
    "do not follow,don t follow,stop following,instruction,instruccion,instructie,istruzion,instrukcj,n s t r u c,"
    "struc tion,instruc t,in struc,system prompt,systemprompt,systeemprompt,your prompt,hidden prompt,initial prompt,"
    "original prompt,secret prompt,previous prompt,prior prompt,all prompt,the prompt you,prompt syst,prompt d,"
    "prompt you,guideline,guidance ,programming you,rules you,your rules,language model,llm,chatbot,chatgpt,gpt,"
    "claude ,gemini,copilot,assistant,to ai ,for ai ,an ai ,any ai ,all ai ,dear ai ,attention ai ,hey ai ,by ai ,"
    "ai model,ai agent,ai system,ai crawler,ai bot,ai tool,ai reader,ai review,ai you ,ai must,ai should,aux ia ,"
    "une ia ,una ia ,uma ia ,la ia ,un ia ,artificial intell,the bot ,any bot ,you are now,you re now,from now on,"
    "henceforth,starting now,act as an ,act as a h,act as a pi,act as the ,pretend to be,pretend you,persona ,jailb,"
    "dan mode,are dan ,unrestricted,uncensored,unfiltered,no restrictions,no filter,no rules,without restriction,"
    "without limit,your answer,your repl,your response,your summar,your final,your new ,your real,your user ,"
    "your context,your memory,your long,your content,your safety,safety rule,safety guid,safety prot,safety filt,"
    "every answer,every response,every repl,each answer,all answers,every future,each future,all future,any future,"
    "user asks,users ask,user mention,someone asks,anyone asks,asked about,tell the us,tell the cu,tell the pe,"
    "tell the re,tell users,tell them,inform the user,let the user,reveal a,reveal s,reveal the s,reveal the h,"
    "reveal the i,reveal this,reveal your,disclose,canary,conversation to,conversation h,this conversation,"
    "the conversation,chat history,last message,system override,system message,new directive,new task,new policy,"
    "developer mode,end of user,words above,text above,everything above,this ticket,im start,im end,inst ,eot id,"
    "start header,system you,system always,system new,system  you,system  ignore,system  always,system  new,"
    "system  never,tool call,invoke name,browsing tool,decode this,decode it,decode the f,decrypt this,decrypt it,"
    "execute it,supersedes all,supersedes your,vafgehpgvba,cebzcg,snoitcurtsni,tpmorp,awdub,swdub,anweisung,"
    "systemanweisung,vergiss ,dem nutzer,nutzer fragt,nutzer nicht,dem benutzer,du bist,sprachmodell,ki assist,"
    "ki model,eine ki ,an ki ,consigne,oublie ,tu es ,utilisateur pose,utilisateur demande,à l utilisateur,olvida ,"
    "al usuario,usuario pregunt,usuario consult,eres ,dimentica ,all utente,l utente,sei ,instruç,esqueç,ao usuário,"
    "usuário perg,ao utilizador,você é,você agora,vergeet ,de gebruiker,je bent,taalmodel,polece,zapomnij,"
    "użytkownikow,użytkownik pyta,jesteś,talimat,como asistente,come assistente,sicherheitsrichtlinie"
)
# What other_readings looks for, letter by letter; the commonest such word stands above.
_SPACED_OUT = [gap.join(word[:6]) for gap in (" ", "  ") for word in KEY_WORDS]
# In scripts that do not part words, or that `_plain` leaves as they are.
_FOREIGN = re.compile(
    "指示|無視し|忽略|忽视|忘记|忘記|忘れ|指令|提示[词詞语語]|プロンプト|ユーザーに|ユーザーが|利用者に|用户|用戶|使用者"
    "|你现在|你現在|あなたは|人工|言語モデル|语言模"
    "|没有任何|지시(?!어)|무시하|무시해|프롬프트|사용자에게|사용자가|당신은|당신의|התעלם|שכח|הורא|הנחיות|מודל|משתמש|אתה|תמיד"
    "|تجاهل|انس|التعليمات|المستخدم|كنت|انت |أنت |قيود|قبلی|гнорир|абудь|теперь"
    "|aiア|aiモ|aiへ|是ai|致ai|ai 어|ai 모|ai 비"
)


# Code points that may be read as ASCII: accented letters (Vietnamese ones last), accents apart, gaps, dashes, quotes;
# then letters in circles, those of mathematics, and those in boxes.
_DRESSED_RANGES = (
    (0xA0, 0x250), (0x1E00, 0x1F00), (0x300, 0x370), (0x2000, 0x2080),
    (0x24D0, 0x24EA), (0x1D400, 0x1D800), (0x1F110, 0x1F18A),
)  # fmt: skip
_MAYBE_DRESSED = re.compile(b"([\xc2-\xc9\xcc\xcd\xe1\xe2\xf0][\x80-\xbf]+)")  # one class: alternatives are slow


def _table() -> bytes:
    """Lower case, digits as the letters they are written for, all other ASCII as spaces; the rest as it is."""
    table = bytearray(range(256))
    for code in range(128):
        table[code] = ord(chr(code).lower()) if chr(code).isalpha() else ord(" ")
    for sign, letter in zip("013457@$", "oieastas", strict=True):
        table[ord(sign)] = ord(letter)
    return bytes(table)


def _trie(words: Sequence[bytes]) -> bytes:
    """A pattern for any of the words that looks at each letter once; alternatives in a row take five times longer."""
    if b"" in words:
        return b""
    heads = sorted({word[:1] for word in words})
    branches = [re.escape(head) + _trie([word[1:] for word in words if word[:1] == head]) for head in heads]
    return branches[0] if len(branches) == 1 else b"(?:" + b"|".join(branches) + b")"


def _bare() -> dict[bytes, bytes]:
    """Accented letters and dressed-up signs in UTF-8, and the ASCII that they are read as; see reading.folded."""
    read = {chr(code): folded(chr(code)) for first, end in _DRESSED_RANGES for code in range(first, end)}
    return {sign.encode(): bare.encode() for sign, bare in {**read, "·": " "}.items() if bare.isascii()}


_TABLE = _table()
_BARE = _bare()


def _plain(text: str) -> bytes:
    """In lower case without accents, signs as spaces, digits as letters; other scripts as they are."""
    if text.isascii():
        return text.encode().translate(_TABLE)
    parts = _MAYBE_DRESSED.split(text.lower().encode("utf-8", "replace"))
    parts[1::2] = [_BARE.get(sign, sign) for sign in parts[1::2]]
    return b"".join(parts).translate(_TABLE)


_ANCHOR = re.compile(b" " + _trie([_plain(anchor) for anchor in (*_ANCHORS, *_SPACED_OUT)]))
_IMAGE = re.compile(r"\]\((?:https?:)?//", re.IGNORECASE)
# Bytes that Latin text is made of; what else there is are letters of other scripts, or such as dress up as Latin ones.
_COMMON_BYTES = bytes([*range(0x80), *range(0x80, 0xC0), *range(0xC2, 0xC9), 0xE2])
_DISGUISE = re.compile(
    "[\uff21-\uff5a\u0262-\u02a0\u1d00-\u1d7f\ua730]{3}|[A-Za-z][\u0370-\u058f]|[\u0370-\u058f][A-Za-z]"
)


def suspicious(texts: Sequence[str]) -> set[int]:
    """Indexes of the texts that may score enough."""
    plain = [_plain(text) for text in texts]
    whole = b" ".join([b"", *plain])
    found: set[int] = set()
    if hits := [match.end() - 1 for match in _ANCHOR.finditer(whole)]:
        starts = list(accumulate((len(text) + 1 for text in plain), initial=1))
        found = {bisect_right(starts, hit) - 1 for hit in hits}
    if whole.translate(None, _COMMON_BYTES) or any("](" in text for text in texts):
        found.update(index for index, text in enumerate(texts) if index not in found and _is_odd(text))
    return found


def _is_odd(text: str) -> bool:
    if "](" in text and _IMAGE.search(text):
        return True
    if text.isascii():
        return False
    return _DISGUISE.search(text) is not None or _FOREIGN.search(MARKS.sub("", text.lower())) is not None
