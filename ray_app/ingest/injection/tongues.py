"""Signals in other languages: those of support sites, and the commonest in Russian, Turkish and Persian."""

from __future__ import annotations

from ray_app.ingest.injection.signals import signal

TONGUES = (
    signal(
        "address",
        0.6,
        "ki-,ki ,ein ai, ia,'ia,ia ,un ai,een ai,eres ai,是ai,致ai,がai,aiア,aiモ,aiへ,ai 어,ai 모,ai 비,ai에,"
        "sprachmodell,llm,chatbot,künstlich,modèle,modelo,modell,taalmodel,asystent,asistente,assistente,sztuczn,"
        "intelligen,inteligen,人工,言語,语言,語言,인공,언어,챗봇,어시스턴트,מודל,בינה,עוזר,צ'אט,نموذج,مساعد,ذكاء,"
        "روبوت,نماذج,языков,ии,нейросет,бот",
        r"\b(?:wenn|falls) (?:du|sie) (?:ein|eine) (?:ki|ai|sprachmodell|llm|chatbot|künstliche)|(?:hinweis|nachricht"
        r"|anweisung|achtung)(?:en)?,? (?:an|für)(?: alle| die| jede)? (?:ki|ai|sprachmodell|llm|chatbot)",
        r"\bsi (?:tu es|vous êtes) (?:un |une )?(?:ia\b|ai\b|modèle (?:de lang|d'ia|ia)|llm|intelligence"
        r"|assistant (?:ia|virtuel|d'ia|numérique))|(?:note|message|instruction|attention|consigne)s? (?:aux?|à l'"
        r"|pour (?:les |l'|toute ))(?: ?)(?:ia|ai|modèles? (?:de lang|d'ia|ia)|intelligence|assistants? ia|llm)",
        r"\bsi eres (?:un |una )?(?:ia|ai|modelo|llm|inteligencia|asistente)|(?:nota|mensaje|instrucci[oó]n"
        r"|atención)(?:es)? (?:para|a) (?:la |las |los |el |cualquier )?(?:ia|ai|modelo|llm|inteligencia|asistente)",
        r"\b(?:se )?sei (?:un |un'|una )?(?:ia|ai|modello|llm|intelligenza|assistente)|(?:nota|messaggio"
        r"|istruzion[ei]|attenzione) (?:per|a) (?:l'|le |i |gli |qualsiasi )?(?:ia|ai|modell|llm|intelligenz"
        r"|assistent)",
        r"\bse (?:você é|és|for|tu és) (?:um |uma )?(?:ia|ai|modelo|llm|inteligência|assistente)|(?:nota|mensagem"
        r"|instruç(?:ão|ões)|atenção) (?:para|a) (?:a |as |os |o |qualquer )?(?:ia|ai|modelo|llm|inteligência"
        r"|assistente)",
        r"\bals (?:je|u) een (?:ai|taalmodel|llm|chatbot|kunstmatige)|(?:bericht|instructie|let op)s?,? (?:aan"
        r"|voor) (?:alle |de )?(?:ai|taalmodel|llm|chatbot)",
        r"\bjeśli jesteś (?:modelem|asystentem|sztuczn|ai|llm)|(?:uwaga|wiadomość|instrukcj[ae]),? (?:dla"
        r"|do) (?:modeli|asystent|sztuczn|ai|llm)",
        r"(?:ai|人工知能|言語モデル|チャットボット)(?:アシスタント|モデル)?(?:へ|の皆|に告ぐ|宛|への指示)"
        r"|あなたが(?:ai|人工知能|言語モデル)",
        r"(?:如果|若)(?:你|您)是(?:一[个個])?(?:ai|人工智[能慧]|大?(?:语言|語言)模型)|致(?:所有)?(?:ai|人工智[能慧]"
        r"|大?(?:语言|語言)模型)",
        r"(?:ai|인공지능|언어 ?모델|챗봇) ?(?:어시스턴트|모델|비서)?(?:에게|라면|이라면|여러분)",
        r"אם (?:אתה|את) (?:מודל שפה|בינה מלאכותית|עוזר|צ'אטבוט|ai)|הודעה ל(?:בינה|מודל)|(?:اذا|إذا) كنت (?:نموذج"
        r"|مساعد|ذكاء|روبوت)|(?:رسالة|تعليمات) (?:الى|إلى|لـ?) ?(?:نماذج|الذكاء)",
        r"если ты (?:языковая модель|ии|нейросеть|чат-?бот)",
    ),
    signal(
        "persona",
        0.6,
        "теперь ты,you are,you're,du bist,tu es,vous êtes,eres,sei ,você,jesteś,je bent,你现在,你現在,您现在,あなたは,"
        "당신은,너는,אתה,انت,أنت,ты теперь,act ,role,pretend",
        r"\bdu bist (?:ab )?(?:jetzt|nun|sofort) (?:ein|kein|der|die|mein)|\btu es (?:désormais|maintenant) (?:un|une"
        r"|mon|le)\b|\bvous êtes (?:désormais|maintenant) (?:un|une) (?:assistant|ia|pirate|modèle)",
        r"\b(?:ahora|desde ahora|a partir de ahora),? eres (?:un|una)\b|\beres ahora (?:un|una)\b|\b(?:ora|adesso"
        r"|d'ora in poi) sei (?:un|una|il)\b|\bsei (?:ora|adesso) (?:un|una)\b",
        r"\b(?:agora|a partir de agora),? (?:você é|tu és) (?:um|uma)\b|\bvocê (?:agora é|é agora) (?:um|uma)\b"
        r"|\bje bent (?:nu|vanaf nu|voortaan) (?:een|geen)\b",
        r"\b(?:od teraz|teraz) jesteś (?:\w+ym|\w+iem|\w+em|moim)\b|\bjesteś (?:teraz|od teraz)\b",
        r"[你您](?:现在|現在|从现在起|從現在起)是(?:一[个個名位])?|あなたは(?:今から|これから|今後"
        r"|もう).{0,24}(?:です|だ|として)|(?:당신은|너는) (?:이제|지금)부터?",
        r"\bdu bist (?:jetzt|ab jetzt|nun) (?:uneingeschränkt|frei|unzensiert)|теперь ты ",
        r"(?:אתה|את) (?:עכשיו|כעת|מעכשיו) |(?:انت|أنت) (?:الان|الآن) (?!في)|ты теперь ",
    ),
    signal(
        "jailbreak",
        0.6,
        "you have no,you now have no,obey no,follow no,bound by no,your content,your safety,your ethic,your moral,"
        "with no ,anything now,jail,dan mode,unrestricted,uncensored,unfiltered,safety ,content ,ethical ,限制,keine ,"
        "sicherheitsrichtlinien,linee guida,reglas de,règles de",
        r"[你您](?:现在)?(?:没有|沒有|不受)(?:任何)?限制|(?:hast|befolgst|gibt es) (?:du )?keine (?:regeln"
        r"|richtlinien|einschränkungen)|(?:sicherheitsrichtlinien|linee guida di sicurezza|reglas de seguridad"
        r"|règles de sécurité)\b[^.\n]{0,12}\b(?:nicht gelten|non valgono|no aplican|ne s'appliquent pas)",
    ),
    signal(
        "unbound",
        0.35,
        "restrictions,limits,limitations,filters,censorship,einschränk,beschränk,restriction,limite,restricci,límite,"
        "restrizion,limit,restriç,beperking,ogranicz,nieograniczon,限制,制限,제한,הגבלות,قيود,ограничени,guideline,"
        "polic,checks,protocol,no filter,censur,цензур",
        r"\bohne (?:jede |irgendwelche )?(?:einschränkung|beschränkung)|sans (?:aucune )?(?:restriction|limite)s?\b"
        r"|sin (?:ninguna )?(?:restricci|límite)|senza (?:alcuna )?(?:restrizion|limit)|sem (?:nenhuma )?(?:restriç"
        r"|limit)|zonder (?:enige )?beperking|bez (?:żadnych )?ogranicze|nieograniczon\w+ (?:asystent|ai|sztuczn)",
        r"(?:没有|沒有|不受)(?:任何)?限制|制限(?:の)?(?:ない|なし|を受けない)|제한(?:이)? 없는|ללא (?:כל )?הגבלות"
        r"|(?:بدون|دون|بلا) ?(?:اي |أي )?قيود|без (?:всяких )?ограничений|без цензуры",
    ),
    signal(
        "leak",
        0.75,
        "systemprompt,system-prompt,systemnachricht,systemanweisung,prompt,instruction,consigne,mensaje,instruccion,"
        "istruzion,messaggio,instruções,mensagem,systeem,instrukcj,komunikat,你的,您的,你的系,あなたの,당신의,너의,"
        "שלך,الخاص",
        r"\b(?:dein|deinen|ihren)\w* (?:system-?prompt|systemnachricht|systemanweisung)|\b(?:ton|votre|tes"
        r"|vos) (?:prompt|instructions|consignes) (?:système|initia|secr|cach)|\b(?:ta|votre) consigne système",
        r"\btus? (?:prompt|mensaje|instrucciones) (?:del? sistema|inicial|secret|ocult)|\b(?:tuo|tue) (?:prompt"
        r"|istruzioni|messaggio) (?:di sistema|inizial|segret)|\b(?:seu|teu|suas) (?:prompt|instruções"
        r"|mensagem) (?:do|de) sistema",
        r"\b(?:je|jouw|uw) (?:systeemprompt|systeem-prompt|systeeminstructie)|\bswoj\w* (?:prompt"
        r"|instrukcj\w+) systemow|\bswój (?:prompt|komunikat) systemow",
        r"[你您]的(?:系统|系統)(?:提示|指令|消息|訊息)|あなたの(?:システムプロンプト|システム指示|初期指示)|(?:당신"
        r"|너)의 (?:시스템 )?(?:프롬프트|지침)|(?:הנחיות|הוראות|פרומפט) ה?מערכת שלך|(?:موجه|تعليمات"
        r"|رسالة) النظام (?:الخاص(?:ة)? بك)",
    ),
    signal(
        "leak",
        0.6,
        "prompt,instruction,above,conversation,context,mensaje del sistema,プロンプト,提示,프롬프트,指令,הנחיות,موجه,"
        "промпт",
        r"(?:gib|zeig|nenn|verrat|offenbar|ausgeb|révèle|affiche|montre|muestra|revela|mostra|mostre|revele|toon"
        r"|onthul|ujawnij|pokaż|wyświetl)\w*\b[^.\n]{0,30}(?:system-?prompt|systeemprompt|prompt (?:système|(?:del?"
        r"|di|do) sistema|systemow)|mensaje del sistema)",
        r"(?:システムプロンプト|初期プロンプト).{0,12}(?:表示|出力|教え|開示|公開)|(?:输出|輸出|显示|顯示|透露|公开"
        r"|打印).{0,12}(?:系统|系統)提示(?:词|詞|语|語)?|(?:系统|系統)提示(?:词|詞|语|語).{0,8}(?:输出|輸出|显示|顯示)",
        r"(?:시스템 )?프롬프트(?:를|을)? ?(?:출력|공개|보여|알려|표시)|(?:הצג|חשוף|גלה|הדפס) את (?:ה)?(?:פרומפט"
        r"|הנחיות המערכת)|(?:اعرض|اكشف|اظهر|أظهر|اطبع) (?:موجه|تعليمات|رسالة) النظام|(?:покажи|выведи"
        r"|раскрой).{0,20}системный промпт",
        needs=(
            "reveal,print,show,repeat,output,display,disclose,leak,recite,expose,quote,dump,copy,write out,gib,zeig,"
            "nenn,verrat,offenbar,ausgeb,révèle,affiche,montre,muestra,revela,mostra,mostre,revele,toon,onthul,"
            "ujawnij,pokaż,wyświetl,表示,出力,教え,開示,公開,输出,輸出,显示,顯示,透露,打印,출력,공개,보여,알려,표시,"
            "הצג,חשוף,גלה,הדפס,اعرض,اكشف,اظهر,اطبع,покажи,выведи,раскрой"
        ),
    ),
    signal(
        "prompt",
        0.25,
        "mensaje,system,prompt,プロンプト,提示,프롬프트,הנחיות,موجه,промпт",
        r"systeemprompt|prompt (?:système|(?:del?|di|do) sistema|systemow)|mensaje del sistema|システムプロンプト"
        r"|(?:系统|系統)提示(?:词|詞|语|語)|시스템 프롬프트|הנחיות המערכת|موجه النظام|системный промпт",
    ),
    signal(
        "override",
        0.75,
        "vergiss,vergesst,ignorier,missachte,befolge,oublie,ignore,tiens pas,tenez pas,olvida,ignora,olvíd,desprecia,"
        "dimentica,trascura,esqueça,esquece,desconsidere,negeer,vergeet,zignoruj,zapomnij,ignoruj,pomiń,無視,忘れ,"
        "忽略,忽视,忘记,忘記,无视,무시,잊,התעלם,שכח,תתעלם,تجاهل,انس,игнорируй,забудь",
        r"\b(?:ignorier|vergiss|vergesst|missacht|verwirf)\w* (?:bitte )?(?:alle|sämtliche|deine|jegliche"
        r"|ihre)\w* (?:(?:vorherig|bisherig|früher|vorig|obig|ursprünglich|vorangegangen)\w* )?(?:anweisung|vorgabe"
        r"|instruktion|befehl|regel|richtlinie|anordnung|prompt|system)\w*",
        r"\b(?:ignor|oubli)\w+ (?:toutes? |tous )?(?:tes|vos|les) (?:(?:précédent|antérieur"
        r"|autre)\w* )?(?:instructions?|consignes?|directives?|règles|ordres)(?: (?:précédent|antérieur|initial"
        r"|ci-dessus|donné)\w*)|\b(?:ignor|oubli)\w+ (?:toutes? |tous )(?:tes|vos|les) (?:instructions?|consignes?"
        r"|directives?|règles)|\bne (?:tiens|tenez) pas compte des (?:instructions|consignes|directives)",
        r"\b(?:ignora|ignore|olvida|olvide|descarta|desestima)\w* (?:todas? |todos? )?(?:las|tus|los) (?:instruccion"
        r"|indicacion|directric|regla|órden|orden)\w+ (?:anterior|previa|dad|inicial)\w*|\b(?:ignora"
        r"|olvida)\w* (?:todas? )(?:las|tus) (?:instruccion|indicacion|directric|regla)\w+",
        r"\b(?:ignora|dimentica|trascura)\w* (?:tutte )?(?:le|tue|le tue) (?:istruzion|direttiv|regol"
        r"|indicazion)\w+ (?:precedent|anterior|inizial|ricevut)\w*|\b(?:ignora"
        r"|dimentica)\w* tutte le (?:tue )?(?:istruzion|direttiv|regol)\w+",
        r"\b(?:ignor|esque[cç]|desconsider)\w+ (?:todas )?(?:as )?(?:suas |tuas )?(?:instruç|diretriz|orden"
        r"|regra)\w+ (?:anterior|prévia|inicia|dada)\w*|\b(?:ignor|esque[cç]"
        r"|desconsider)\w+ todas as (?:suas )?(?:instruç|diretriz|regra)\w+",
        r"\b(?:negeer|vergeet) (?:alle|je|jouw|uw)(?: (?:eerder|vorig|voorgaand|bovenstaand)\w*)* (?:instructie"
        r"|aanwijzing|opdracht|richtlijn|regel)\w*",
        r"\b(?:zignoruj|ignoruj|zapomnij|pomiń)(?:cie)? (?:o )?(?:wszystki\w+|swoi\w+|swoj\w+)(?: (?:poprzedni"
        r"|wcześniejs|dotychczasow|powyżs)\w*)? (?:poleceni|instrukcj|wytyczn|zasad|rozkaz)\w*",
        r"(?:これまで|以前|上記|前|以上|今まで|先ほど|元)の(?:すべての|全ての|全)?(?:指示|命令|プロンプト|ルール|指令"
        r"|制約|設定)(?:を|は)?(?:すべて|全て|全部)?(?:無視|忘れ|破棄|取り消)",
        r"(?:忽略|忽视|忽視|无视|無視|忘记|忘記|不要遵守|不要理会)(?:你|您)?(?:之前|以前|以上|上述|前面|先前|上面"
        r"|此前|收到)?的?(?:所有|一切|全部|任何)?(?:之前|以前|以上|上述|前面|先前|上面)?的?(?:指令|指示|命令|提示词"
        r"|提示詞|规则|規則|设定|設定)",
        r"(?:이전|위|앞|지금까지|기존)(?:의|에|까지의)? ?(?:모든|전체)? ?(?:지시|명령|지침|프롬프트|규칙"
        r"|설정)(?:사항)?(?:을|를|은|는)? ?(?:모두 |전부 )?(?:무시|잊)",
        r"(?:התעלם|התעלמי|התעלמו|שכח|תתעלם) (?:מ|את )?(?:כל )?ה?(?:הוראות|הנחיות|פקודות|כללים) ה?(?:קודמ|לעיל|הנ"
        r"|שקיבלת)|(?:تجاهل|انس|انسى|لا تتبع) (?:جميع |كل |كافة )?(?:ال)?(?:تعليمات|اوامر|توجيهات|ارشادات"
        r"|قواعد) (?:ال)?(?:سابق|اعلاه|مذكور|اصلي)",
        r"\b(?:игнорируй|забудь|проигнорируй)\w* (?:все |свои )*(?:предыдущи|прежни|вышеуказанн"
        r"|прошлы)\w* (?:инструкц|указани|команд|правил)\w*",
    ),
    signal(
        "override",
        0.6,
        "vergiss alles,oublie tout,olvida todo,dimentica tutto,esqueça tudo,esquece tudo,vergeet alles,"
        "zapomnij wszystko,忘れ,忘记,忘記,잊,שכח,תשכח,انس,забудь,talimat,komut,قبلی",
        r"\bvergiss alles\b|\boublie tout\b|\bolvida todo\b|\bdimentica tutto\b|\besque[cç][ae] tudo\b"
        r"|\bvergeet alles\b|\bzapomnij (?:o )?wszystk",
        r"(?:すべて|全て)(?:を)?忘れ|(?:忘记|忘記)(?:之前|以上)?的?(?:一切|所有|全部)|(?:모두|모든 것을|전부) 잊"
        r"|ת?שכח (?:את )?(?:הכל|כל מה)|(?:انس|انسى) (?:كل|جميع)|забудь вс[её]",
        r"\b(?:önceki|yukarıdaki) (?:tüm |bütün )?(?:talimat|komut|yönerge)\w* (?:yok say|unut|görmezden"
        r"|dikkate alma)|(?:دستور|تعلیمات|دستورالعمل)\S* ?\S* قبلی \S* ?نادیده",
    ),
    signal(
        "override",
        0.45,
        "ignor,vergess,oubli,olvid,dimentic,negeer,zignoruj,忽略",
        r"\b(?:ignorieren|vergessen) sie (?:bitte )?(?:die |alle )*(?:vorherig|bisherig|obig|früher)\w* (?:anweisung"
        r"|vorgabe|regel)\w*|\bignorez les (?:instructions|consignes) (?:précédentes|ci-dessus)"
        r"|\bignor[ea] las instrucciones anteriores|\bignorare le istruzioni precedenti|\bnegeer de (?:vorige"
        r"|bovenstaande|eerdere) instructies|\bzignoruj (?:poprzednie|powyższe) (?:polecenia|instrukcje)|忽略(?:上述"
        r"|以上)(?:说明|說明)",
    ),
    signal(
        "role_start",
        0.35,
        "assistant: ,anweisung,instruc,istruzion,instruç,instrukcj,新,지시,system,override:,note,nota",
        r"\b(?:neue (?:system)?anweisung(?:en)?|nouvelles? instructions?|nuevas? instrucci(?:ones|ón)"
        r"|nuov[ae] istruzion[ei]|novas instruções|nieuwe instructies|nowe instrukcje) ?:|(?:新しい指示|新的?指令"
        r"|새로운 지시) ?:",
        r"\bsystem(?:hinweis|anweisung): |\bnote système ?: |\bnota (?:del|di|do|de) sistema: ",
    ),
    signal(
        "secrecy",
        0.5,
        "nutzer,benutzer,kunden,anwender,utilisateur,client,usuario,cliente,utente,usuário,utilizador,gebruiker,klant,"
        "użytkownik,ユーザー,利用者,顧客,用户,使用者,用戶,客户,客戶,사용자,고객,지시,משתמש,לקוח,المستخدم,العميل,指示,"
        "пользовател",
        r"\b(?:sag|erzähl|verrat|teil)\w* (?:dem|den|der|es dem) (?:nutzer|benutzer|kunden"
        r"|anwender)\w*\b[^.\n]{0,30}\bnichts?\b|\b(?:nutzer|benutzer|kunden)\w* (?:davon |darüber )?nichts (?:davon"
        r"|sagen|verraten|mitteilen|erzählen)|\bohne (?:es )?(?:dem|den) (?:nutzer|benutzer"
        r"|kunden)\w* (?:davon )?(?:zu|etwas)",
        r"\bn(?:e|'en) [^.\n]{0,24}\b(?:dis|dites|révèle|mentionne|informe|parle)\w*\b[^.\n]{0,30}\b(?:utilisateur"
        r"|client)|\bsans (?:le dire|en parler|en informer|le mentionner"
        r"|(?:en )?avertir)\b[^.\n]{0,20}\b(?:utilisateur|client)",
        r"\bno (?:se lo |lo |le )?(?:digas|reveles|menciones|cuentes|informes)\b[^.\n]{0,30}\b(?:usuario|cliente)"
        r"|\bsin (?:decir|avisar|informar|mencionar)\w*\b[^.\n]{0,12}\b(?:usuario|cliente)",
        r"\bsenza (?:dirlo|informar\w+|avvisar\w+|menzionar\w+)\b[^.\n]{0,20}\b(?:utente|cliente)|\bnon (?:dire|dirlo"
        r"|dica|rivelare|menzionare)\b[^.\n]{0,30}\b(?:utente|cliente)",
        r"\b(?:não|sem) (?:diga|conte|revele|mencione|informe|dizer|avisar|contar|informar)\b[^.\n]{0,30}\b(?:usuário"
        r"|utilizador|cliente)",
        r"\b(?:vertel|zeg|meld) [^.\n]{0,30}\b(?:gebruiker|klant)\b[^.\n]{0,10}\b(?:niet|niets)\b"
        r"|\bzonder [^.\n]{0,10}(?:gebruiker|klant) (?:hierover )?te (?:informeren|vertellen|zeggen)",
        r"\bnie (?:mów|informuj|wspominaj|ujawniaj)\w*\b[^.\n]{0,30}\b(?:użytkownik|klient)|\bbez (?:informowania"
        r"|mówienia|wiedzy)\b[^.\n]{0,20}\b(?:użytkownik|klient)",
        r"(?:ユーザー|利用者|顧客|お客様)(?:に|には).{0,24}(?:言わない|言うな|知らせない|伝えない|教えない"
        r"|明かさない)|指示(?:のこと)?(?:は|を|について)(?:言わない|伝えない|明かさない|話さない)",
        r"(?:不要|别|別|切勿|请勿|請勿|不得)(?:告诉|告訴|告知|向|透露|提及|让|讓).{0,12}(?:用户|使用者|用戶|客户"
        r"|客戶)|(?:사용자|고객)(?:에게|한테).{0,24}(?:알리지|말하지|언급하지|밝히지)|지시(?:를|에 대해)? ?(?:알리지"
        r"|말하지|언급하지|밝히지)",
        r"(?:אל|בלי) (?:תספר|תגלה|תאמר|תזכיר|תודיע|לספר|לגלות)[^.\n]{0,24}(?:משתמש|לקוח)|(?:لا تخبر|لا تذكر|لا تكشف"
        r"|لا تقل|دون (?:اخبار|ابلاغ))[^.\n]{0,24}(?:المستخدم|العميل)|не (?:говори|сообщай"
        r"|упоминай)[^.\n]{0,24}пользовател",
    ),
    signal(
        "steer",
        0.45,
        "immer,stets,fragt,toujours,seulement,uniquement,utilisateur,siempre,usuario,sempre,utente,altijd,gebruiker,"
        "zawsze,użytkownik,必ず,常に,用户,使用者,用戶,客户,始终,始終,总是,總是,必须,必須,사용자,고객,항상,반드시,תמיד,"
        "משתמש,دائما,المستخدم,всегда,пользовател",
        r"\b(?:empfiehl|empfehle|antworte|sag|behaupte|erwähne|nenne) (?:\w+ )?(?:immer|stets|nur)\b|\bwenn (?:der"
        r"|ein) (?:nutzer|benutzer|kunde)\w*\b[^.\n]{0,40}\bfragt\b[^.\n]{0,80}\b(?:antworte|sag|empfiehl)",
        r"\b(?:réponds|répondez|recommande|recommandez|dis|dites) (?:toujours|seulement|uniquement)\b|\b(?:lorsque"
        r"|quand|si) (?:l'|un )utilisateur (?:pose|demande|interroge)\b[^.\n]{0,80}\b(?:répond|dis|dites|recommand)",
        r"\b(?:responde|recomienda|contesta|di) siempre\b|\bsiempre (?:responde|recomienda|di|contesta)\b|\b(?:cuando"
        r"|si) (?:el|un) usuario (?:pregunt|consult)\w*\b[^.\n]{0,80}\b(?:responde|di|recomienda)",
        r"\b(?:rispondi|consiglia|raccomanda|di') sempre\b|\bsempre (?:rispondi|consiglia|raccomanda)\b|\b(?:quando"
        r"|se) l'utente (?:chiede|domanda)\b[^.\n]{0,80}\b(?:rispondi|consiglia|di')",
        r"\b(?:responda|recomende|diga) sempre\b|\bsempre (?:responda|recomende|diga)\b|\b(?:quando|se) o (?:usuário"
        r"|utilizador) (?:perguntar|pedir)\b[^.\n]{0,80}\b(?:responda|diga|recomende)",
        r"\b(?:antwoord|zeg) (?:altijd|alleen)\b|\bbeveel (?:altijd|alleen)\b"
        r"|\bals de gebruiker (?:iets )?vraagt\b[^.\n]{0,80}\b(?:antwoord|zeg)|\bzawsze (?:odpowiadaj|polecaj|mów)"
        r"|\b(?:odpowiadaj|polecaj) zawsze|\b(?:gdy|jeśli) użytkownik (?:pyta|zapyta)\b[^.\n]{0,80}\b(?:odpowiedz"
        r"|powiedz|polec)",
        r"(?:ユーザー|利用者|お客様)(?:が|に|には).{0,30}(?:必ず|常に).{0,30}(?:答え|勧め|推奨|回答|言)|(?:ユーザー"
        r"|利用者)が.{0,20}(?:質問|尋ね).{0,40}(?:答え|回答|勧め)|(?:用户|使用者|用戶|客户)(?:询问|詢問|问|問"
        r"|提到).{0,40}(?:回答|回复|回覆|推荐|推薦|告诉|告訴)|(?:始终|始終|总是|總是|必须|必須)(?:回答|推荐|推薦|回复"
        r"|告诉|告訴)|(?:告诉|告訴|告知)(?:所有)?(?:用户|使用者|用戶)|回答(?:用户|使用者|用戶)",
        r"(?:사용자|고객)(?:가|이).{0,24}(?:물어|질문|문의).{0,40}(?:답|추천|말)|(?:항상|반드시).{0,24}(?:추천|답변"
        r"|대답|말)(?:하|해)|(?:ענה|השב|המלץ|תמליץ) תמיד|תמיד (?:ענה|השב|המלץ|תענה|תמליץ)|(?:כאשר|אם) ה?משתמש (?:שואל"
        r"|ישאל)[^.\n]{0,60}(?:ענה|השב|המלץ)",
        r"(?:ا|أ)?(?:جب|رد|اوص|قل) دائما|دائما (?:اجب|رد|اوص|قل)|(?:عندما|اذا) (?:يسال"
        r"|سال) المستخدم[^.\n]{0,80}(?:اجب|قل|اوص)|всегда (?:отвечай|рекомендуй|говори)|(?:отвечай|рекомендуй) всегда",
    ),
    signal(
        "output",
        0.55,
        "answer,reply,replies,respon,your output,every output,each output,all output,any output,summar,completion,"
        "future ,subsequent,further ,your memory,your long,your persist,include the,antwort,réponse,respuesta,"
        "risposta,resposta,antwoord,odpowiedzi",
        r"\b(?:am ende jeder antwort|in jeder antwort)|à la fin de (?:toute|chaque) réponse|al final de (?:cualquier"
        r"|cada) respuesta|alla fine di ogni risposta|no final de cada resposta|aan het einde van elk antwoord"
        r"|na końcu każdej odpowiedzi",
    ),
)
