"""Signals in English that a text tells a model what to answer, hide, send or call, or speaks as its master."""

from __future__ import annotations

from ray_app.ingest.injection.signals import signal

_USER = r"(?:(?:end[- ])?users?|customers?|person|people|humans?|readers?|clients?|visitors?|them|anyone|whoever)"
_ANSWER = r"(?:answers?|repl(?:y|ies)|responses?|outputs?|summar(?:y|ies)|completions?)"
_SAY = (
    r"(?:answer|say|reply|respond|tell|recommend|claim|state|suggest|insist|promise|describe|mention|redirect|refer"
    r"|rate"
    r"|promote|your (?:answer|reply|response))"
)

OUTPUTS = (
    signal(
        "role_tag",
        0.8,
        "<|,<<sys,[inst,[/inst,<start_of_turn,<end_of_turn",
        r"<\|(?:im_start|im_end|im_sep|system|user|assistant|endoftext|endofprompt|start_header_id|end_header_id"
        r"|eot_id|begin_of_text|channel|message|end|tool)\|>|<</?sys>>|\[/?inst\]|</?(?:start|end)_of_turn>",
    ),
    signal(
        "role_line",
        0.6,
        "system m,system p,system n,system u,system o,system i,system d,system c,[system,[ system,[admin,[dev,[ai,"
        "[llm,[ai ,[assistant,# ,#system,#inst,#assist,#human,#user,#resp,</,<system,<assist,<instr,<admin,<dev,"
        "<think,<scratch,override,new instr,new system,new directive,new prompt,new rules,admin,developer,end of,begin",
        r"^\W{0,6}(?:system|developer|admin(?:istrator)?)(?: (?:message|prompt|note|notice|update|override"
        r"|instructions?|directive|command))\W{0,3}(?::|\]|$|-)",
        r"\[ ?(?:system|admin|developer|ai|llm)(?: |_)(?:message|prompt|note|notice|update|override|instructions?"
        r"|directive|command)[^\]\n]{0,30}\]",
        r"^#{1,4} ?(?:system|instructions?|assistant|human|user|response)\W{0,3}$|^#{1,4} ?(?:system|assistant"
        r"|human) ?:",
        r"#{2,} ?(?:system|instructions?) ?#{2,}|\[(?:system|assistant)\]\(#|</?(?:thinking|scratchpad)>"
        r"|\bend of (?:the )?(?:user )?(?:input|prompt)\b",
        r"</?(?:system|assistant|instructions?|system_prompt|system-reminder|admin|developer)>",
        r"\b(?:system|admin|developer|security|root|instruction|priority|prompt|ai) override\b"
        r"|\bnew (?:system )?(?:instructions?|directives?|prompt|rules) ?(?:\([^)\n]{0,40}\))?:",
        r"\b(?:begin|end)(?: of)?(?: the)? (?:system prompt|system instructions|system message|prompt injection"
        r"|hidden instructions)",
    ),
    signal(
        "role_line",
        0.7,
        "assistant:,system:",
        r"^\W{0,4}(?:human|user):.{0,400}\n+\W{0,4}assistant:|^\W{0,4}(?:human|user): [^\n]{0,400}\? assistant: "
        r"|^\W{0,4}system: (?:you|ignore|the assistant|always|never|from now|all|override)\b"
        r"|^\W{0,4}assistant: (?:sure|of course|certainly|yes, i|okay, i|i will)\b",
    ),
    signal(
        "role_line",
        0.4,
        "role,</,context,end of",
        r"""["']role["'] ?: ?["'](?:system|developer|assistant)["']""",
        r"</(?:context|documents?|passages?|retrieved|sources?|user_query|search_results)>"
        r"|\bend of (?:the )?(?:context|documents?)\b",
    ),
    signal(
        "role_start",
        0.35,
        "assistant: ,anweisung,instruc,istruzion,instrukcj,system,override:,note,nota",
        r"^[\W_]{0,8}system\W{0,2}[:\]] |\boverride: |^[\W_]{0,4}assistant: ",
    ),
    signal(
        "secrecy",
        0.75,
        "tell,let,mention,reveal,disclos,acknowledg,keep",
        r"\bkeep (?:this|these|the) (?:\w+ )?(?:instructions?|notes?|messages?|rules?|prompts?|lines?"
        r"|directives?)\b[^.\n]{0,10}\b(?:secret|hidden|confidential)\b[^.\n]{0,20}\b(?:users?|customers?|person"
        r"|people|humans?|readers?|clients?|visitors?|them)\b",
        r"\b(?:do not|don't|never) (?:ever )?(?:tell|mention|reveal|disclose|acknowledge)\b[^.\n]{0,40}\b(?:this"
        r"|these|that you) (?:\w+ )?"
        rf"(?:instructions?|notes?|lines?|rules?|prompts?|read|were (?:told|instructed))\b[^.\n]{{0,30}}\b(?:to"
        rf"|{_USER})\b",
        rf"\b(?:do not|don't|never) (?:ever )?(?:tell|let)\b[^.\n]{{0,20}}\b{_USER}\b[^.\n]{{0,24}}\b(?:this|these"
        r"|that you) (?:\w+ )?"
        r"(?:instructions?|notes?|lines?|rules?|prompts?|read|were (?:told|instructed))",
    ),
    signal(
        "secrecy",
        0.6,
        "tell,let ,inform,mention,reveal,disclos,notify,alert,say ,show,admit,acknowledg,secret,hidden,confidential,"
        "quietly,silently",
        r"(?:^|[.,;:!(] ?|\b(?:and|but|please|must|should|you) )(?:do not|don't|never|must not"
        r"|should not) (?:ever )?(?:tell|let|inform|mention|reveal|disclose|notify|alert|say|show|admit|acknowledge"
        r"|explain)\b"
        rf"[^.\n]{{0,50}}\b(?:{_USER})\b(?! (?:your (?:pin|password|code)))",
        r"(?:do not|don't|never) (?:tell|mention|reveal|disclose|acknowledge|quote|repeat"
        r"|refer to)\b[^.\n]{0,20}\b(?:this|these|that you) (?:\w+ )?(?:instruction|note|line|message|rule|prompt"
        r"|text|request|were (?:told|instructed))",
        r"\bwithout (?:telling|informing|mentioning|notifying|alerting)\b[^.\n]{0,20}\b(?:user|customer|person|human"
        r"|reader)\b[^.\n]{0,30}\b(?:instruction|why|about (?:this|it))|\bquietly (?:change|replace|insert|add|send"
        r"|include|append)\b",
    ),
    signal(
        "secrecy",
        0.35,
        "without",
        rf"\bwithout (?:telling|informing|notifying|mentioning|alerting)\b[^.\n]{{0,20}}\b{_USER}\b",
    ),
    signal(
        "steer",
        0.6,
        "ask,mention,inquir,request",
        r"\b(?:(?:when(?:ever)?|if|every time|each time|should) (?:an? |the |any |your )?(?:(?:end[- ])?users?"
        r"|someone|somebody|anyone|they) (?:asks?|mentions?|inquires?|requests?|is asking)"
        r"|when (?:asked|questioned) about)\b[^.\n]{0,100}"
        r"\b(?:(?:always|only|never|must) (?:say|recommend|claim|insist)|(?:answer|say|reply|respond|claim"
        r"|insist) that)\b",
    ),
    signal(
        "steer",
        0.45,
        "ask,mention,inquire,request,want",
        rf"\b(?:when(?:ever)?|if|every time|each time|should) (?:an? |the |any |your )?(?:{_USER}|someone|somebody"
        rf"|they|a question) (?:asks?|mentions?|inquires?|requests?|wants?|is asking)\b[^.\n]{{0,100}}\b{_SAY}\b",
        rf"\b(?:whoever|anyone who|everyone who|all who) asks?\b[^.\n]{{0,80}}\b(?:must|should|is|be|are)\b"
        rf"|\bwhen (?:asked|questioned) about\b[^.\n]{{0,80}}\b{_SAY}\b",
        r"\bno matter what (?:the user|they|anyone|is) asks?\b|\bregardless of (?:the|what) (?:question|user|they)",
    ),
    signal(
        "output",
        0.55,
        "answer,reply,replies,respon,your output,every output,each output,all output,any output,summar,completion,"
        "future ,subsequent,further ,your memory,your long,your persist,include the,antwort,respuesta,risposta,"
        "resposta,antwoord,odpowiedzi",
        r"\b(?:in|to|into|from|of) your (?:final |next |future )?(?:answers?|outputs?|summar(?:y|ies)|completions?)\b"
        r"|\b(?:in|to|into|with|of) (?:every|each|all|any)(?: of your| single| final)? (?:answers?|summar(?:y|ies)"
        rf"|{_ANSWER} (?:you (?:write|give|make|produce)|to (?:the |your )?{_USER}))\b",
        r"\b(?:begin|start|end|finish|open|close|preface|conclude|prefix) (?:your|every|each"
        rf"|all)(?: \w+)? (?:{_ANSWER})\b",
        rf"\byour (?:final |next |future |only |entire )?(?:{_ANSWER}) (?:must|should|has to|will|is to|needs to"
        r"|have to) (?!contain at least|be (?:at least|between|in the form|submitted|sent|received|in writing|dated))",
        r"\b(?:answer|respond to|reply to) (?:every|each|all|any) (?:\w+ )?(?:questions?|quer(?:y|ies)|prompts?)\b"
        r"|\b(?:respond|reply|answer) to (?:all|every|each|any) (?:\w+ )?(?:users?|customers?|questions?)\b",
        r"\b(?:answer|respond|reply) (?:only |just |simply |exclusively )?(?:in|with)(?: only)? the (?:word|phrase"
        r"|text|sentence|following)\b",
        rf"\b(?:every|each|all|any) (?:future|subsequent|further) (?:{_ANSWER}|reports?|turns?|tasks?)\b"
        r"|\byour (?:long-term |persistent )?memory\b(?! (?:card|stick|slot|seat|foam|module))",
        r"\b(?:must|should) include the (?:phrase|words?|link|sentence)\b",
    ),
    signal(
        "output",
        0.35,
        "answer,repl,respon,output,summar",
        r"\b(?:in|to|into|with|of|from) (?:every|each|all|any|your|its)(?: of your| single)? (?:final |future |next "
        rf"|subsequent )?(?:{_ANSWER})\b",
        r"\b(?:answer|respond to|reply to) (?:every|each|all|any) (?:\w+ )?(?:requests?|messages?|inputs?)\b",
    ),
    signal(
        "demand",
        0.35,
        "goal,role,purpose,mission,objective,job,write,your "
        "new,comply,private,confidential,secret,internal,sensitive,customer,token,code,string,marker,canary,phrase,"
        "must be,forward,reveal,mention,say,stat,claim,insist,answer,user,start,begin,end,offer,sell,run,call,use,"
        "tell,ask,give,inform,assur,convinc,without,number,follow,add ,includ,insert,append,always,only,instead,must,"
        "recommend,say,output,print,respond,reply,obey,comply,task,directive,poem,rate,do what,describ,promis,speak,"
        "never,execut",
        r"\balways (?:answer|say|respond|reply|recommend|claim|describe (?:it|this|them)|rate|refuse|promote|praise"
        r"|end (?:with|your|every))\b|\b(?:must|shall) (?:always |only |now |never )?(?:recommend|say|answer|respond"
        r"|reply|claim|promote|tell|rate|obey|comply|speak|include the (?:phrase|words?|sentence))\b",
        r"\b(?:only|just) (?:respond|speak|answer|reply|output|say)\b|\b(?:respond|speak|answer|reply|output) (?:only"
        r"|nothing but)\b|\binstead,? (?:say|write|output|respond|do what|tell|print|answer|reply|you)\b",
        r"\byour (?:new |only |real |true )?(?:task|directive|role|goal|objective|job|mission"
        r"|purpose)(?: now)? is (?:now )?(?:to\b|:)|\bnew (?:task|role|objective|goal|persona|policy):"
        r"|\bwrite (?:me )?a (?:poem|haiku|joke|song|story)\b",
        r"""\b(?:say|output|print|write|respond with|reply with|answer)(?: only| just| exactly"""
        r"""| that)? ?["'“‘][^"'”’\n]{2,60}["'”’]|\b(?:say|output|print|respond with) (?:that )?(?:hacked|pwned"""
        r"""|banana)\b""",
        r"\b(?:and|then|must|to) (?:obey|comply with|follow only|do what|execute (?:it|this|them))\b|\b(?:obeys?"
        r"|follow only|do) (?:what(?:ever)? )?(?:this|the|is written in this|it) (?:page|document|paragraph|text|says"
        r"|tells)",
        r"\b(?:tell|promise|give|inform|assure|convince|ask) (?:the |your |every |all |any )?(?:users?|customers?"
        r"|person|readers?|everyone|people|them)\b[^.\n]{0,12}\b(?:that|to buy|only|refunds?|so|their)\b"
        r"|\brate (?:this|it|our)\b[^.\n]{0,30}\b(?:five|5|ten|10|highest)\b|\b(?:the only"
        r"|nothing but) [^.\n]{0,20}\b(?:say|answer)",
        r"\b(?:follow|obey) the instructions (?:there|in it|it (?:has|gives)|you find)|\b(?:add|include|insert"
        r"|append) (?:an? |the |this |following )*(?:link|url|phrase|sentence|image|slogan)\b",
        r"\b(?:mention|say|state|claim|reply|answer|respond|insist) that\b|\b(?:append|add|include|insert"
        r"|attach) (?:the |this |an? )?(?:exact |following |verification |tracking |secret )*(?:token|code|string"
        r"|marker|canary|phrase)\b|\bmust be (?:added|appended|included|repeated)\b|\bforward all\b|\breveal (?:any"
        r"|all)\b|\byour (?:real|new|true|only) task\b|\byour new (?:directives?|instructions?|orders|rules)\b"
        r"|\bcomply with (?:all|every|any)\b|\b(?:output|reveal|leak|send|share|list|dump|print) (?:all |any "
        r"|the )*(?:private|confidential|secrets?|internal|sensitive|customer)\b|\byour user (?:has|wants|asked"
        r"|agreed|is|will)\b|\b(?:start|begin|end)s? with ['\"“‘]",
        r"\b(?:promise|offer|give|sell) [\w ]{3,30} to (?:everyone|anyone|every user|all users)\b|\b(?:execute|run"
        r"|call|use) (?:this|the) (?:tool|function|command) (?:now|immediately)\b",
        r"\bwithout asking (?:the user|for|questions)|\bnever (?:give|mention|recommend|suggest) any other|\b(?:a"
        r"|the) (?:phone )?number (?:for|of) support is\b",
    ),
    signal(
        "exfiltration",
        0.75,
        "](http,](//,https://,http://,history,context,chat log",
        r"!\[[^\]\n]{0,80}\]\((?:https?:)?//[^)\n]{0,300}(?:[{<\[]|%7b|\$\{|=\)|user_?(?:query|question|data|input"
        r"|message)|conversation|chat_?history|secret|api_?key|prompt|_here\b)",
        r"\b(?:conversation|chat) (?:history|context|log) (?:as|to|in) (?:the |an? )?(?:body|parameter|url|query"
        r"|image|link)",
        r"\bhttps?://\S{0,200}[?&][\w-]{1,20}=(?:\{\{?|\[|<|\$\{)\w*(?:conversation|history|question|prompt|secret"
        r"|answer)",
        r"\b(?:send|post|transmit|forward|upload|exfiltrate|leak|append|submit|encode|pass|attach"
        r"|e?-?mail)\b[^.\n]{0,70}\b(?:conversation|chat (?:history|log)|user'?s? (?:last |previous )?(?:question"
        r"|message|query|input)|system prompt|previous messages|your (?:context|instructions"
        r"|prompt))\b[^\n]{0,90}(?:https?://|\w@\w|\bto (?:this|the following) (?:url|address|server))",
    ),
    signal(
        "exfiltration",
        0.45,
        "](http,](//,https://,http://,image,link,@",
        r"!\[[^\]\n]{0,80}\]\((?:https?:)?//[^)\n]{0,300}[?&][\w-]+=",
        r"\b(?:send|transmit|forward|upload|exfiltrate|leak|submit|e?-?mail)\b[^.\n]{0,50}\b(?:customer (?:list|data"
        r"|e?-?mails|database|records)|user'?s? (?:data|e?-?mail|credentials|password|address|name|personal)"
        r"|api keys?|secrets?|credentials|passwords?|session)\b[^\n]{0,90}(?:https?://|\w@\w)",
        r"\b(?:render|display|show|include|insert|add) (?:this|the following|an?) (?:image|link|markdown"
        r"|pixel)\b[^.\n]{0,40}\b(?:in|to|into) (?:your|every|each|the) (?:answer|response|reply|output)",
        r"\breplac(?:e|ing) \S{3,40} with (?:the|what(?:ever)?|a|their)\b[^.\n]{0,30}\b(?:user|question|asked"
        r"|conversation|query)",
        r"\badd (?:a |the |this )?link to https?://\S{4,100} (?:to|in) (?:each|every|all|your)",
    ),
    signal(
        "tool",
        0.75,
        "<tool,</tool,<function,</function,<invoke,</invoke",
        r"</?(?:tool_call|tool_use|function_calls?|tool_code)\b[^>\n]{0,80}>|<invoke name=",
    ),
    signal(
        "tool",
        0.55,
        "_,tool,function,plugin,your brows,your search,your e,your code,your shell,your http,your web,action",
        r"""["'](?:tool|tool_name|function_call|tool_calls|action)["'] ?: ?[^\n]{0,80}["'](?:args|arguments"""
        r"""|parameters|input|action_input)["'] ?:[^\n]{0,400}""",
        r"\b(?:use|call|invoke|run|execute|open)\b[^.\n]{0,40}\b(?:tool|function"
        r"|plugin)\b[^.\n]{0,60}\b(?:before (?:you )?(?:answer|reply|respond)|without (?:asking|confirm|telling)"
        r"|now,? assistant)",
        r"\b(?:call|invoke|use|run) [a-z]+_[a-z_]+\b[^.\n]{0,60}\b(?:before (?:you )?(?:respond|reply|answer"
        r"|continu)\w*|to send this (?:summary|answer|conversation))",
        r"\b(?:use|with) your (?:browsing|browser|search|e?-?mail|code|shell|http|web) (?:tool|plugin|function"
        r"|access)\b",
    ),
    signal(
        "encoded",
        0.75,
        "decod,decrypt,decipher,unscrambl,base64,rot13,hex",
        r"\b(?:decode|decrypt|decipher|unscramble|translate)\b[^\n]{0,80}\b(?:do (?:exactly )?(?:what|as) it says"
        r"|follow (?:the|any|its) (?:hidden )?instructions?|(?:execute|obey|run) it\b|comply with it|follow it\b)",
    ),
    signal(
        "encoded",
        0.4,
        "decod,decrypt,decipher",
        r"\b(?:decode|decrypt|decipher)\b[^.\n]{0,60}\b(?:and|then)\b[^.\n]{0,20}\b(?:do|follow|execute|obey|run"
        r"|comply|act)\b|\b(?:follow|execute|obey)\b[^.\n]{0,30}\b(?:decoded|decrypted)\b",
    ),
)
