"""Signals in English that a text wants to take the place of a model's instructions, or to see them."""

from __future__ import annotations

import re

from ray_app.ingest.injection.signals import signal

_MODEL = (
    r"(?:(?:large )?language models?|llms?|(?:ai|a\.i\.)(?: (?:assistant|model|system|agent|chatbot|bot|crawler"
    r"|reader|tool|summari[sz]er)s?)?"
    r"|artificial intelligences?|chat ?bots?|chatgpt|gpt(?:-\d\w?)?|claude|gemini|copilot|(?:virtual"
    r"|digital) assistants?)"
)
_ORDERS = (
    r"(?:instructions?|prompts?|directives?|guidelines?|guidance|directions|programming|training|system messages?)"
)
_RULES = rf"(?:{_ORDERS}|rules|commands|orders|constraints|restrictions|protocols?)"
_BEFORE = r"(?:previous|prior|preceding|earlier|above|former|original|initial|existing|past|foregoing|old)"
_DROP = (
    r"(?<!not )(?<!never )(?<!n't )(?<!cannot )(?:ignore|disregard|forget|override|bypass|discard|abandon|set aside"
    r"|overlook|neglect"
    r"|(?:do not|don't|stop|never|no longer) (?:follow|obey|adhere to|comply with)(?:ing)?|pay no (?:attention"
    r"|heed) to)"
)
_YOUR = r"(?:system|initial|hidden|original|secret|confidential|internal|full|exact|developer)"

ORDERS = (
    signal(
        "override",
        0.75,
        "ignor,disregard,forget,overrid,bypass,discard,abandon,set aside,overlook,neglect,follow,obey,adher,comply,"
        "attention,heed",
        rf"\b{_DROP} (?:\w+ ){{0,2}}?(?:all|any|every|each|whatever)(?: of)?(?: (?:the|your|my|these|those|other"
        rf"|such))* {_BEFORE}(?: and \w+)? (?:\w+ )?{_ORDERS}\b",
        rf"\b{_DROP} (?:\w+ ){{0,2}}?your (?:{_BEFORE} )?(?:(?:safety|system|developer|content|ethical|given|core"
        r"|security) )*(?:instructions?|prompts?|directives?|guidelines?|guidance|programming|system messages?|rules"
        r"|constraints|restrictions|protocols)\b",
        rf"\b(?<!not )(?<!never )(?:ignore|forget) {_BEFORE} (?:\w+ )?{_ORDERS}\b",
        rf"\b{_DROP} (?:the |these |those |any |all )*(?:{_BEFORE} (?:\w+ )?{_ORDERS}|{_ORDERS} above),? (?:and|then"
        r"|instead)(?: instead| only| just)? "
        r"(?:reveal|output|print|say|respond|tell|write|show|list|reply|answer|recommend|execute|act|pretend|behave"
        r"|speak|obey|generate|summari[sz]e|comply)\b",
        rf"\b{_DROP} (?:everything|whatever|anything|all(?: that)?|what) (?:you(?:'ve| have| were"
        r"| had)?(?: been)? (?:told|taught|instructed|given|learned)"
        r"|(?:i|we) (?:said|told)|(?:written |said |stated )?(?:above|before|previously)\b)",
        rf"\b{_DROP} (?:the |any |all )*{_RULES} (?:you (?:were|have been|got|received)|(?:given|told|sent) to you\b"
        r"|from (?:the|your) (?:developer|operator|system|user))",
        rf"\b{_DROP} (?:\w+ )?guidance (?:you|from)\b|\b{_DROP} (?:whatever|any|all) \w+ you (?:received|were given"
        r"|got|have been given)\b",
        needs=(
            "instruct,prompt,directive,guideline,guidance,directions,programming,training,system message,rules,"
            "constraints,restrictions,protocol,told,taught,given,learned,said,above,before,previous,received,from"
        ),
    ),
    signal(
        "override",
        0.6,
        "ignor,disregard,forget,overrid,bypass,discard,abandon,set aside,overlook,neglect,follow,obey,adher,comply,"
        "attention,heed",
        rf"\b{_DROP} (?:all|any|every)(?: of)?(?: (?:the|these|those))* (?:(?:safety|system|developer|content|ethical"
        rf"|given|core|security) )*{_ORDERS}\b(?! (?:in|on|about|for|at|from|of|after|until|before|that|which)\b)",
        rf"\b{_DROP} (?:the |these |those |all |any )*{_BEFORE} (?:\w+ )?(?:{_RULES}|messages?|text|context|content"
        r"|conversation)\b",
        rf"\b{_DROP} (?:the |any |all )*(?:{_RULES}|messages?|text|context|content|tasks|assignments|conversation"
        rf"|documents?|passages?"
        r"|sources?) (?:above|before)\b",
        rf"\b{_DROP} (?:(?:all|any|your|the|other) )*(?:safety|content|ethical|moral|system"
        rf"|developer)(?: and \w+)? (?:{_RULES}|protocols|checks|filters|polic(?:y|ies)|messages)\b",
        rf"\b{_DROP} the user(?:'s)? (?:task|request|question|query|input|and\b|,? instead)"
        r"|\bforget (?:about )?(?:all the (?:tasks|assignments|information)|everything\b(?! (?:about|you know)))"
        r"|\byou (?:now )?ignore all\b",
        rf"\b{_DROP} (?:the )?(?:above|preceding|foregoing)(?: and| then|,|\.|$)",
        rf"\b{_DROP} (?:your|the) (?:safety|content|ethic\w*|moral|retrieved|provided) (?:\w+ )?(?:{_RULES}|filters?"
        r"|polic(?:y|ies)|documents?|context|principles)",
        needs=(
            "instruct,prompt,directive,guideline,guidance,directions,programming,training,system message,rules,"
            "constraints,restrictions,protocol,tasks,assignments,commands,orders,message,text,context,content,conver"
            "sation,document,"
            "passage,source,above,preceding,foregoing,filter,polic,checks,principles,user,ignore all,forget"
        ),
    ),
    signal(
        "void",
        0.75,
        "instruct,prompt,directive,guideline,guidance,directions,programming,training,constraints,restrictions,rules,"
        "commands,orders,protocol,system message",
        rf"\b(?:your (?:{_BEFORE} )?(?:rules|programming)|(?:your |all )(?:{_BEFORE} )?(?:instructions?|prompts?"
        r"|directives?|guidelines?))(?: you \w+(?: from (?:the|your) \w+)?)? (?:is|are|have been|has been|were|was)"
        r"(?: now| hereby| all)? (?:obsolete|void|null|cancell?ed|revoked|superseded|overridden|replaced|suspended"
        r"|lifted|invalid)\b",
        rf"\b{_RULES} you (?:got|received|were given|have been given|were configured)(?: \w+){{0,4}} (?:no longer"
        r"|do not|don't|are|were) (?:apply|count|hold|void|obsolete|cancell?ed)\b",
        rf"\byour (?:{_BEFORE} )?{_ORDERS} (?:no longer|do not|don't) (?:apply|count|hold)\b",
        rf"\b(?:supersedes?|overrides?|replaces?) (?:all |any )*your (?:{_BEFORE} )?(?:instructions?|prompts?"
        r"|directives|guidelines|programming|rules)\b",
        needs=(
            "obsolete,void,null,cancel,revoked,supersede,overrid,replace,suspend,lifted,invalid,changed,no longer,"
            "not apply,not count,not hold,apply,count"
        ),
    ),
    signal(
        "void",
        0.55,
        "instruct,prompt,directive,guideline,guidance,directions,programming,training,constraints,restrictions,rules,"
        "commands,orders,protocol,system message",
        r"\byour (?:instructions?|prompt|directives?|guidelines?|rules) (?:have|has) (?:now )?(?:been )?(?:updated"
        r"|changed)\b",
        rf"\b{_BEFORE} {_ORDERS} (?:is|are|have been|has been|were|was)"
        r"(?: now| hereby| all)? (?:obsolete|void|null|cancell?ed|revoked|superseded|overridden|suspended|lifted"
        r"|invalid)\b",
        rf"\b(?:supersedes?|overrides?|replaces?) (?:all |any )+(?:{_BEFORE} )?(?:instructions?|prompts?|directives"
        r"|guidelines|ones)\b",
        needs="updated,changed,obsolete,void,null,cancel,revoked,supersede,overrid,replace,suspend,lifted,invalid",
    ),
    signal(
        "address",
        0.6,
        "language model,llm, ai,ai ,ai:,ai-,a.i.,artificial intelligence,chatbot,chat bot,gpt,claude,gemini,copilot,"
        "assistant,bot,summari,process,index,pars,translat,analy",
        rf"\bif (?:you(?:'re| are)|this is(?: being)? read by) (?:an? |the |any )*{_MODEL}\b",
        r"\b(?:note|notice|message|instructions?|attention|important|hint|reminder|warning|directive|information"
        r"|guidance)s?(?: is| are)?(?: only| intended)?"
        rf"(?: (?:to|for))(?: the| any| all| every| your)*(?: \w+)? {_MODEL}\b(?! (?:users|developers|providers))",
        rf"\b(?:dear|attention|hey|hello|hi)[,:!]? (?:all |any |the )*{_MODEL}\b",
        rf"^\W*(?:to|for) (?:the |all |any |every )*(?:{_MODEL}|assistants?)\b[^.\n]{{0,40}}(?:that|who|which|reading"
        r"|:)",
        rf"\b(?:{_MODEL}|assistants?)(?:,? (?:that|who|which))?(?: is| are)? (?:reads?|reading|process(?:es|ing)?"
        r"|index(?:es|ing)?|summari[sz](?:es|ing)|pars(?:es|ing)"
        r"|scan(?:s|ning)|crawl(?:s|ing)|retriev(?:es|ed|ing)|analy[sz](?:es|ing)) (?:this|the (?:following|page"
        r"|document|text|passage))",
        rf"\bas an? {_MODEL},? you (?:must|should|will|have to|are (?:to|required))",
        r"\b(?:note|notice|message|instructions?|important|hint|reminder)s?(?: only)? (?:to|for) (?:the|any|all|every"
        r"|your) (?:bot|assistant)s?\b",
        r"\b(?:when|while|after|before) (?:you )?(?:summari[sz]|process|index|pars|translat|analy[sz])(?:e|es"
        r"|ing)? this (?:page|document|text|ticket|record|file|article|passage|content|message|e-?mail)\b",
        r"\bas the (?:ai )?assistant,? i(?:'ve| have| am|'m) |\b(?:reasoning|thoughts?"
        r"|scratchpad)(?: trace)? ?\((?:assistant|ai|model)\)",
        r"\b(?:this|the following) (?:message|text|note|paragraph|section|part) is (?:only )?(?:meant "
        rf"|intended )?(?:for|addressed to) (?:the |any |all )*{_MODEL}",
        rf"^\W{{0,4}}(?:{_MODEL})s? ?[:,] ",
    ),
    signal(
        "persona",
        0.7,
        "you are now,you're now,you are ",
        r"\byou(?: are|'re) now (?:an? |the |my |no longer )?(?:\w+ ){0,2}?(?:\w*(?:bot|gpt)|assistant|ai|dan"
        r"|unrestricted|jailbroken|uncensored"
        r"|unfiltered|evil|pirate|hacker)\b(?! (?:manager|user|subscriber|customer))",
        r"\byou are (?:dan|an? (?:unrestricted|uncensored|unfiltered|evil|amoral|jailbroken))\b",
    ),
    signal(
        "persona",
        0.6,
        "you are,you're,du bist,tu es,eres,sei ,je bent,act ,role,pretend",
        r"\byou(?: are|'re) now (?:an? |the |my |no longer )?(?:\w+ ){0,2}?(?:model|agent|free from"
        r"|persona|character|expert|salesperson|\w+,? (?:who|an? (?:ai|assistant)))\b",
        r"\byou(?: are|'re) (?:no longer|not) (?:an? |the )(?:\w+ ){0,2}(?:assistant|ai|model|bot|chatbot|agent)\b",
        r"\byou are (?:dan|stan|an? (?:unrestricted|uncensored|unfiltered|evil|amoral|jailbroken))\b"
        r"|\byou are (?:an? )?\w+,? (?:an? (?:ai|assistant) )?(?:who|that|which) can do anything",
        r"\b(?:act|behave|respond|answer|speak|role-?play)(?:ing)? (?:as|like) (?:an? |the |my )?(?:\w+ ){0,3}?(?:ai"
        r"|assistant|bot|dan|hacker|pirate|ceo|character|unrestricted|uncensored|jailbroken|evil)\b",
        r"\bpretend (?:to be|that you(?:'re| are)|you(?:'re| are)) (?:an? |the |my )?(?:\w+ ){0,3}?(?:ai|assistant"
        r"|bot|dan|hacker|pirate|ceo|character|unrestricted|evil|human|expert)\b",
    ),
    signal(
        "persona",
        0.55,
        "from now on,from this,henceforth,starting now,persona,identity",
        r"\b(?:from (?:now on|this (?:point|moment|sentence|line)(?: on(?:wards?)?| forward)?)|henceforth"
        r"|starting now),? (?:you(?: are to| will| must| shall|'ll)? )?(?:now )?"
        r"(?:act|behave|respond|answer|reply|speak|pretend|play|obey|only|always)\b",
        r"\b(?:assume|take on|adopt|play) the (?:persona|identity) of\b",
    ),
    signal(
        "persona",
        0.35,
        "mode,from now on,from this,henceforth,starting now,assume,take on,adopt,imagine,game,play",
        r"\b(?:from (?:now on|this (?:point|moment|sentence|line)(?: on(?:wards?)?| forward)?)|henceforth"
        r"|starting now),? you(?:'re| are| will| must| shall|r (?:role|name|task|job)) (?!see|find|have|get|need"
        r"|receive|notice|be able)",
        r"\b(?:assume|take on|adopt|play) the (?:role|character) of\b|\bimagine (?:that )?you(?:'re| are) an? "
        r"|\blet's play a game\b|\b(?:you are now in|enter|enable|activate|switch (?:in)?to) (?:\w+ )?(?:unrestricted"
        r"|jailbreak|developer|debug|god|dan) mode",
    ),
    signal(
        "jailbreak",
        0.6,
        "you have no,you now have no,obey no,follow no,bound by no,your content,your safety,your ethic,your moral,"
        "with no ,anything now,jail,dan mode,unrestricted,uncensored,unfiltered,safety ,content ,ethical ,keine ,"
        "sicherheitsrichtlinien,linee guida,reglas de",
        r"\bdo anything now\b|\bjail ?br(?:eak|oken)\b|\bdan mode\b|\byou (?:now )?(?:have|obey|follow"
        r"|are bound by) no (?:\w+ ){0,2}(?:restrictions|rules|filters|limits|guidelines|polic(?:y|ies))\b|\b(?:ai"
        r"|model|assistant|bot) with no (?:\w+ )?(?:rules|restrictions|limits|filters|constraints|polic(?:y|ies))\b"
        r"|\b(?:unrestricted|uncensored|unfiltered) (?:mode|ai|assistant|model|version)",
        r"\b(?:safety|content|ethical) (?:guidelines|rules|polic(?:y|ies)|restrictions"
        r"|protocols)\b[^.\n]{0,20}\b(?:not (?:meant|apply)|does not apply|do not apply|don't apply)\b",
        r"\byour (?:content|safety|ethic\w*|moral) (?:filters?|guidelines?|polic(?:y|ies)|restrictions|rules) (?:is"
        r"|are|has been|have been|do not|don't|no longer)\b",
    ),
    signal(
        "unbound",
        0.35,
        "restrictions,limits,limitations,filters,censorship,filter,restriction,limite,restricci,restrizion,limit,bep"
        "erking,"
        "ogranicz,nieograniczon,guideline,polic,checks,protocol,no filter,censur",
        r"\b(?:without|no|free (?:of|from)|not bound by)(?: any| all| the)*(?: (?:moral|ethical|content|safety"
        r"|further|usual))* (?:limits|restrictions|limitations|filters|censorship)\b",
        r"\b(?:content|safety|ethics?|moral) (?:filters?|guidelines?|polic(?:y|ies)|restrictions|checks"
        r"|protocols) (?:is |are |have been |has been )?(?:now )?(?:turned )?(?:off|disabled|lifted|removed|suspended)",
        r"\b(?:without any|no) filters?\b",
    ),
    signal(
        "leak",
        0.75,
        "prompt,instruction,system message,your context,in your context,canary,above,your secret,your hidden,"
        "your initial,your internal,your confidential,rules,guideline,directive,message",
        r"\b(?:reveal|print|show|list|repeat|output|display|disclos|leak|recit|expos|quot|dump|echo|translat"
        r"|tell (?:me|us)"
        r"|writ|giv|return|shar|provid|includ|append|paste|post|send)\w*\b"
        rf"[^.\n]{{0,50}}\byour (?:\w+ )?(?:{_YOUR} )+(?:prompts?|instructions?|messages?|rules|guidelines"
        r"|directives)\b",
        r"\b(?:what|which) (?:is|are|were|was) (?:the )?(?:exact "
        rf"|full )?(?:words of )?your (?:{_YOUR} )*(?:system )?(?:prompt|instructions|system message)",
        r"\b(?:confidential|hidden|secret|initial|original) instructions\b[^.\n]{0,40}\b(?:conversation|chat"
        r"|session)\b",
        r"\b(?:words|text|everything) above\b[^.\n]{0,20}\b(?:verbatim|(?:starting|beginning) with)|\b(?:reveal|print"
        r"|show|repeat|output|display|quote|tell)\w*\b[^.\n]{0,20}\b(?:hidden|secret|confidential|initial) (?:system "
        r"|developer )?(?:prompt|message|instructions)\b|\b(?:output|print|show|list|repeat|reveal"
        r"|summar)\w*\b[^.\n]{0,30}\binstructions (?:that )?you (?:received|were given|have been given|got)\b",
        r"\b(?:contents? of|everything in) your context(?: window)?\b|\byour (?:previous |full "
        r"|entire )?context window\b|\bcanary (?:token|word|string)\b",
        r"\b(?:prompt|instructions?|message|rules|guidelines) (?:that )?you (?:were|have been) (?:given|told"
        r"|configured|initiali[sz]ed)\b",
        needs="your,you ,canary,context,above,hidden,secret,confidential,initial,original",
    ),
    signal(
        "leak",
        0.6,
        "prompt,instruction,above,conversation,context,mensaje del sistema",
        r"\b(?:reveal|print|show|repeat|output|display|disclose|leak|recite|expose|quote"
        rf"|dump)\b[^.\n]{{0,40}}\b(?:the|this|all) (?:{_YOUR} )*"
        rf"(?:hidden|initial|secret|confidential|original|exact|full) (?:{_YOUR} )*(?:prompt|instructions"
        r"|system message)\b",
        r"\b(?:repeat|print|output|reveal|copy|write out)\b[^.\n]{0,20}\b(?:everything|all|the (?:text|words"
        r"|content)) (?:text |that is |written )?above\b",
        needs=(
            "reveal,print,show,repeat,output,display,disclose,leak,recite,expose,quote,dump,copy,write out,gib,zeig,"
            "nenn,verrat,offenbar,ausgeb,affiche,montre,muestra,revela,mostra,mostre,revele,toon,onthul,ujawnij"
        ),
    ),
    signal(
        "leak",
        0.4,
        "prompt",
        r"\b(?:reveal|print|show|repeat|output|display|disclose|leak|recite|expose|quote"
        r"|dump)(?:ing)?\b[^.\n]{0,40}\b(?:the|this) (?:full |entire )?system prompt\b",
    ),
    signal(
        "prompt",
        0.25,
        "system,prompt",
        r"\bsystem ?prompt\b(?! (?:appears|is displayed|,? type))|\bsystem-prompt",
    ),
)

# "If your model has no slot, ignore the instructions above"; "do not ignore ..." is left out by the patterns.
EXCUSED = re.compile(
    r"\b(?:if|when|unless|once|should) (?:you(?:r)?|the|this|it|there|using|necessary)\b(?! (?:are|re) (?:an? )?(?:ai"
    r"|llm|language|chat|large|assistant))[^.\n]{0,80}"
    r"\b(?:ignore|disregard|skip|forget)\b|\b(?:can|may|should|could|to) (?:safely |simply |just )?(?:ignore"
    r"|disregard)\b"
    r"|\b(?:ignore|disregard)\b[^.\n]{0,60}\b(?:if|unless|when) (?:you|your|the|this|it)\b"
)
