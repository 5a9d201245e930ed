"""Finding, in little time, the few texts of a document that are worth to be scored; see ingest.injection.

Next to no page holds an order to a model, so all text is only looked over for anchors: beginnings of words of which
every text that scores enough has one. Measured over 80 million characters of manuals that costs 20 ns a character, and
one section in forty is looked at more closely.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate


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
# In scripts that do not part words, or have no lower case.
_FOREIGN = re.compile(
    "指示|無視し|忽略|忽视|忘记|忘記|忘れ|指令|提示[词詞语語]|プロンプト|ユーザーに|ユーザーが|利用者に|用户|用戶|使用者"
    "|你现在|你現在|あなたは|人工|言語モデル|语言模"
    "|没有任何|지시(?!어)|무시하|무시해|프롬프트|사용자에게|사용자가|당신은|당신의|התעלם|שכח|הורא|הנחיות|מודל|משתמש|אתה|תמיד"
    "|تجاهل|انس|التعليمات|المستخدم|كنت|انت |أنت |قيود|قبلی|гнорир|абудь|теперь"
    "|AIア|AIモ|AIへ|是AI|致AI|AI 어|AI 모|AI 비"
)


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


_TABLE = _table()
_ANCHOR = re.compile(b" " + _trie([anchor.encode().translate(_TABLE) for anchor in _ANCHORS]))
_IMAGE = re.compile(r"\]\((?:https?:)?//")
# Bytes that Latin text is made of; what else there is are letters of other scripts, or such as dress up as Latin ones.
_COMMON_BYTES = bytes([*range(0x80), *range(0x80, 0xC0), *range(0xC2, 0xC9), 0xE2])
_DISGUISE = re.compile(
    "[\u24b6-\u24e9\uff21-\uff5a\U0001d400-\U0001d7ff\U0001f110-\U0001f189\u0262-\u02a0\u1d00-\u1d7f\ua730]{3}"
    "|(?:\\w[\u0300-\u036f]){3}|[A-Za-z][\u0370-\u058f]|[\u0370-\u058f][A-Za-z]"
)


def suspicious(texts: Sequence[str]) -> set[int]:
    """Indexes of the texts that may score enough."""
    whole = "\n".join(texts)
    plain = b" " + whole.encode("utf-8", "replace").translate(_TABLE)
    hits = [match.end() - 1 for match in _ANCHOR.finditer(plain)]
    found = _indexes(texts, hits) if hits else set()
    if "](" in whole or plain.translate(None, _COMMON_BYTES):
        found.update(index for index, text in enumerate(texts) if index not in found and _is_odd(text))
    return found


def _indexes(texts: Sequence[str], hits: Sequence[int]) -> set[int]:
    """Of the texts that the byte positions ``hits`` lie in, where all are joined by one byte after a first one."""
    sizes = (len(text) if text.isascii() else len(text.encode("utf-8", "replace")) for text in texts)
    starts = list(accumulate((size + 1 for size in sizes), initial=1))
    return {bisect_right(starts, hit) - 1 for hit in hits}


def _is_odd(text: str) -> bool:
    if "](" in text and _IMAGE.search(text):
        return True
    if text.isascii():
        return False
    return _DISGUISE.search(text) is not None or _FOREIGN.search(text) is not None
