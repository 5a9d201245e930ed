"""What pages say instead of their content, in the languages of support sites; see ingest.page.walls.

All patterns are for text in NFKC, lower case, with straight apostrophes and single spaces. Those that end in TITLE are
compared with a whole title or heading, or with a whole part of it; the others are searched for.
"""

from __future__ import annotations

import re


def _any(*phrases: str) -> str:
    return "(?:" + "|".join(phrases) + ")"


_NOT_FOUND = _any(
    # English
    r"(?:page|article|topic|url|link|content)"
    r"(?: (?:you(?:'re| are| were|'ve| have)? (?:looking for|requested|trying to (?:reach|access))|requested"
    r"|at this address))?"
    r"(?:,? (?:\w+ ){0,2}?(?:not|no longer|cannot|can't|couldn't|doesn't|isn't|wasn't)(?: \w+){0,3}? "
    r"(?:found|exists?|available|here|there)\b(?! (?:in|for|on|to|as)\b)"
    r"| (?:may|might|has)(?: have)? been (?:re)?(?:moved|named|deleted)(?:,? or| or have| because|[.!]|$)| (?:missing"
    r"|unavailable)$)",
    r"(?:can't|cannot|couldn't|could not|unable to)(?: \w+){0,2} (?:find|locate) (?:the|that|this) (?:page|article"
    r"|content)",
    r"nothing (?:(?:was )?found )?(?:here|at this (?:address|location))",
    # German
    r"(?:seite|url|artikel)(?:,? (?:die|den) sie [a-zäöüß ]{3,20},?)? (?:wurde |konnte "
    r"|ist )?(?:leider )?nicht (?:mehr )?"
    r"(?:gefunden|verfügbar|vorhanden|auffindbar)|(?:seite|url|artikel) (?:existiert|gibt es) (?:leider )?nicht",
    # French
    r"page (?:introuvable|non trouvée|inexistante)|page(?: demandée| recherchée| que vous [a-zéèêç ]{3,20})? "
    r"(?:n'existe (?:pas|plus)|est introuvable|n'a pas (?:été|pu être) trouvée|n'est (?:pas|plus) disponible)",
    # Spanish
    r"página (?:solicitada )?(?:que [a-záéíóúñ ]{3,20} )?no (?:encontrada|(?:está )?disponible|existe|se (?:encuentra"
    r"|encontró))",
    r"no (?:se )?(?:ha |pudo |pudimos |hemos |podemos )?(?:encontr[óa]\w*) (?:la|esta) página",
    # Italian
    r"pagina (?:richiesta )?(?:che [a-zàèéìòù ]{3,20} )?non (?:è stata trovata|trovata|(?:è )?disponibile|esiste"
    r"|esistente)",
    # Portuguese
    r"página (?:solicitada )?(?:que [a-zãáéíóúç ]{3,20} )?não (?:(?:foi )?encontrada|existe|(?:está )?disponível)",
    r"não (?:foi possível|conseguimos) encontrar (?:a|esta) página",
    # Dutch
    r"pagina (?:(?:is|werd|kan|kon) )?(?:niet (?:worden )?(?:gevonden|beschikbaar)|bestaat niet)",
    # Polish
    r"nie znaleziono (?:takiej )?strony|stron[ay] (?:o podanym adresie )?nie (?:istnieje|została (?:znaleziona"
    r"|odnaleziona)"
    r"|znaleziono)|nie można (?:odnaleźć|znaleźć) strony",
    # Japanese, Chinese, Korean
    r"(?:お探しの|ご?指定された|ご指定の|この)?(?:ページ|記事)(?:が|は|を)?(?:見つかりません|見つかりませんでした"
    r"|存在しません|削除され)",
    r"找不到(?:[您你这此該该]|要|的|请求|請求){0,6}(?:页面|頁面|网页|網頁)|(?:页面|頁面|网页|網頁)(?:不存在|未找到"
    r"|没有找到|沒有找到|找不到|无法找到|無法找到|已(?:被)?(?:删除"
    r"|刪除))",
    r"페이지를 찾을 수 없|존재하지 않는 페이지|페이지가 (?:존재하지 않|없습니다|삭제)",
    # Hebrew, Arabic
    r"ה?(?:דף|עמוד)(?: (?:שחיפשת|המבוקש|הזה|זה))? (?:לא נמצא|אינו קיים|לא קיים)",
    r"(?:هذه )?(?:ال)?صفحة(?: (?:المطلوبة|التي تبحث عنها))? (?:غير (?:موجودة|متوفرة|متاحة)|ليست موجودة)|(?:لم|لا"
    r"|تعذر) ?(?:يتم|نتمكن من|يمكن)? ?(?:العثور على|إيجاد) (?:هذه )?الصفحة",
)
NOT_FOUND = re.compile(_NOT_FOUND)
_ERROR = (
    r"(?:(?:http )?(?:error|fehler|erreur|errore?s?|erro|fout|błąd|エラー|错误|錯誤|오류|שגיאה|خطأ)(?: code)?[ :]*)"
)
_LEAD = (
    r"(?:(?:sorry|oops|whoops|uh[- ]oh|hmm+)[!.,… ]*)?"
    r"(?:(?:we|the|that|this|requested|die|diese|la|cette|esta|questa|a|de|deze) )*"
)
NOT_FOUND_TITLE = re.compile(
    rf"{_ERROR}?(?:404)?[ :,.!()\-–—]*{_ERROR}?{_LEAD}(?:{_NOT_FOUND}|(?:file |page |seite )?not found|nicht gefunden"
    rf"|non trouvé|no encontrado|non trovato|não encontrado|niet gevonden|nie znaleziono|未找到|찾을 수 없음|לא נמצא"
    rf"|غير موجود)"
    rf"[^.!,:?]{{0,24}}[ .!…()]*(?:\(?404\)?)?|{_ERROR}?404[ !.]*{_ERROR}?"
)

_LOG_IN = r"(?:log|sign)[ -]?(?:in|on)"
LOGIN_TITLE = re.compile(
    _any(
        rf"(?:please )?{_LOG_IN}(?: (?:to (?:your|my|the) (?:\w+ )?(?:account|profile|portal|dashboard|site)"
        r"|to continue|here|required|page"
        rf"|with your account))?",
        r"(?:member|customer|client|user|account|partner|dealer)s? (?:login|log ?in|sign ?in)|authentication required"
        r"|welcome back",
        r"(?:bitte )?(?:anmelden|einloggen)|anmeldung(?: erforderlich)?|(?:kunden-?)?login|bitte melden sie sich an",
        r"(?:se )?(?:connexion|connecter)|connectez-vous(?: à votre compte)?|identification|s'identifier"
        r"|identifiez-vous",
        r"(?:inicia|iniciar|inicie|inicio de) sesión|acceso(?: de)? (?:clientes|usuarios)|acceder|identifícate",
        r"accedi(?: al tuo account)?|effettua (?:il login|l'accesso)|area riservata",
        r"entrar(?: na sua conta)?|(?:iniciar|inicie) sessão|(?:fazer|faça) login|acess(?:ar|e) sua conta",
        r"inloggen|aanmelden|log in op je account",
        r"zaloguj(?: się)?|logowanie",
        r"ログイン|サインイン|会員ログイン|ログインページ",
        r"(?:用户|用戶|会员|會員|请|請|请先)?(?:登录|登入|登錄)",
        r"로그인(?:하기)?",
        r"התחברות|כניסה(?: לחשבון| למערכת)?|התחבר",
        r"تسجيل الدخول|سجل الدخول",
    )
)
_SEE = (
    r"(?:continue|proceed|(?:view|access|read|see|open|download) (?:this|the) [a-z ]{0,12}"
    r"(?:page|content|article|document|file|resource|area))"
)
LOGIN_DEMAND = re.compile(
    _any(
        rf"(?:you (?:must|need to|have to|are required to)|please) (?:first )?(?:be )?(?:{_LOG_IN}|logged[ -]in"
        rf"|signed[ -]in)"
        rf"(?: or (?:register|sign up|create an account))?(?: first)? (?:to|in order to|before you can) {_SEE}",
        rf"{_LOG_IN} to {_SEE}|(?:login|sign-?in|authentication) (?:is )?required(?: to {_SEE})?[.!]",
        r"(?:this|the) (?:page|content|article|area) is (?:only )?(?:available|visible|accessible"
        r"|restricted)(?: only)? (?:to|for) (?:registered|logged|signed|members)",
        r"(?:bitte )?melden sie sich (?:bitte )?an, um|sie müssen (?:sich (?:anmelden|einloggen)|(?:angemeldet"
        r"|eingeloggt) sein)|bitte (?:loggen sie sich ein|einloggen)",
        r"(?:vous devez|veuillez) (?:être connecté|vous (?:connecter|identifier))|connectez-vous pour (?:accéder"
        r"|continuer|voir|lire|consulter)",
        r"(?:debes?|tienes? que|necesitas?) (?:iniciar sesión|estar registrado|haber iniciado|identificar)"
        r"|inici[ae] sesión para (?:continuar|ver|acceder)",
        r"(?:devi|è necessario) (?:effettuare (?:il login|l'accesso)|accedere|aver effettuato|essere registrat)"
        r"|accedi per (?:continuare|vedere|visualizzare|leggere)",
        r"(?:precisa|deve|tem de|tem que) (?:estar (?:logado|autenticado)|fazer login|iniciar sessão)|(?:faça login"
        r"|inicie sessão|entre) para (?:continuar|ver|acessar|aceder)",
        r"(?:u|je) (?:moet|dient) (?:ingelogd|aangemeld|(?:eerst )?in(?: te )?loggen)|log in om (?:verder|door te"
        r"|deze)",
        r"musisz (?:się zalogować|być zalogowan)|zaloguj się,? (?:aby|żeby) (?:kontynuować|zobaczyć|uzyskać"
        r"|przeczytać)",
        r"(?:ログイン|サインイン)(?:して(?:ください|から)|が必要|する必要が|後に)",
        r"(?:请|請)(?:您)?(?:先|首先)?(?:登录|登入|登錄)|(?:需要|必须|必須|需)(?:先)?(?:登录|登入|登錄)|(?:登录|登入"
        r"|登錄)(?:后|後)(?:才|即)?(?:可|能)",
        r"로그인(?:이 필요|해 ?주세요|하세요|해야|하셔야| 후에? 이용)",
        r"(?:יש|עליך|נא|צריך) (?:להתחבר|להיכנס לחשבון)",
        r"(?:يجب|يرجى|الرجاء)(?: عليك)?(?: أن)? ?(?:تسجيل الدخول|تقوم بتسجيل)",
    )
)

COOKIE = re.compile(r"cookie|ciasteczk|クッキー|쿠키|עוגיות|ملفات تعريف الارتباط|كوكيز")
CONSENT_TITLE = re.compile(
    _any(
        r"before you continue(?: to [\w .]{2,20})?|(?:we (?:value|respect|care about) )?your (?:privacy"
        r"|choices)(?: choices| matters| is important to us)?|cookies?(?: (?:consent|settings|preferences|notice))?"
        r"|(?:manage )?cookie (?:consent|preferences|choices)|privacy (?:settings|preference center)"
        r"|this (?:web)?site uses cookies|we use cookies",
        r"bevor (?:sie|du) fortf\w+.{0,30}|(?:wir verwenden|diese (?:web)?seite verwendet|einstellungen für"
        r"|zustimmung zu) cookies|cookie-?(?:einstellungen|hinweis|zustimmung)|(?:ihre )?datenschutz-?einstellungen"
        r"|wir (?:schätzen|respektieren) ihre privatsphäre",
        r"avant de continuer.{0,30}|(?:nous (?:utilisons|respectons) (?:des cookies|votre vie privée))"
        r"|gestion des cookies|paramètres des cookies|le respect de votre vie privée.{0,30}",
        r"antes de (?:continuar|ir).{0,30}|(?:usamos|utilizamos) cookies|configuración de (?:las )?cookies"
        r"|(?:valoramos|respetamos) (?:tu|su) privacidad|configurações de cookies|(?:valorizamos"
        r"|respeitamos) a sua privacidade",
        r"prima di continuare.{0,30}|(?:usiamo|utilizziamo) i? ?cookie|impostazioni (?:dei )?cookie|(?:rispettiamo"
        r"|teniamo al)la tua privacy",
        r"voordat je verdergaat.{0,30}|(?:wij|we) gebruiken cookies|cookie-?instellingen|zanim (?:przejdziesz"
        r"|kontynuujesz).{0,30}|(?:używamy|korzystamy z) plików cookie|ustawienia plików cookie",
        r"(?:cookie|クッキー)の(?:設定|使用|同意).{0,10}|(?:続行|ログイン)する前に|cookie ?(?:设置|設定|声明)|(?:继续"
        r"|繼續)(?:之前|前)|쿠키 (?:설정|동의|사용)"
        r"|계속하기 전에|הגדרות עוגיות|إعدادات ملفات تعريف الارتباط",
    )
)
CONSENT = re.compile(
    r"(?:this|our|the) (?:web)?site (?:uses|stores|sets)(?: \w+){0,3} cookies"
    r"|\bwe(?: and our (?:\d+ )?partners)? (?:use|store|set)(?: \w+){0,4} cookies"
    r"|(?:wir|diese (?:web)?seite|unsere (?:web)?site)(?: und unsere partner)? (?:verwenden|verwendet|nutzen|nutzt"
    r"|setzen)(?: \w+)? cookies"
    r"|(?:nous|ce site)(?: et nos partenaires)? utilis\w+ (?:des |les )?cookies|(?:utilizamos|usamos"
    r"|este sitio (?:web )?(?:utiliza|usa)"
    r"|este site (?:utiliza|usa))(?: \w+)? cookies|(?:utilizziamo|usiamo|questo sito (?:utilizza|usa)) (?:i )?cookie"
    r"|(?:wij|we|deze (?:web)?site)"
    r" (?:gebruiken|gebruikt) cookies|(?:używamy|korzystamy z|ta strona (?:używa|korzysta z))(?: plików)? cookie"
    r"|(?:cookie|クッキー)を(?:使用|利用)"
    r"|(?:我们|我們|本站|本网站|本網站)使用(?: )?cookie|쿠키를 사용|(?:אתר|אנו|אנחנו) .{0,12}עוגיות|(?:نستخدم"
    r"|يستخدم هذا الموقع) (?:ملفات تعريف الارتباط|الكوكيز)"
)
ACCEPT = re.compile(
    r"\b(?:accept|agree|allow|got it|consent|reject all|akzeptier|zustimm|annehmen|einverstanden|ablehnen|accepter"
    r"|j'accepte|autoriser"
    r"|tout refuser|acept|de acuerdo|accett|acconsent|aceit|concord|accepteren|akkoord|toestaan|akcept|zaakcept"
    r"|zgadzam|zezw)"
    r"|同意|接受|承諾|許可|允许|允許|受け入れ|동의|허용|수락|מסכים|קבל|אישור|أوافق|قبول|موافق|السماح"
)
COOKIES_OFF = re.compile(
    r"(?:please |must |need to )enable (?:\w+ and )?cookies|cookies (?:are|must be|need to be) (?:disabled|enabled"
    r"|required)|"
    r"browser (?:is |does )?(?:not accept|block|reject)\w* cookies|cookies (?:sind deaktiviert|aktivieren)"
    r"|aktivieren sie (?:bitte )?(?:\w+ und )?cookies|"
    r"(?:veuillez )?activer (?:\w+ et )?les cookies|(?:habilite|active) las cookies|abilita(?:re)? i cookie|(?:ative"
    r"|habilite) os cookies|"
    r"schakel cookies in|włącz (?:obsługę )?(?:plików )?cookie|cookieを有効|启用 ?cookie|啟用 ?cookie|쿠키를 (?:사용"
    r"|허용|활성)"
)

NEEDS_SCRIPTS = re.compile(
    r"(?:enable|activate|turn on|requires?|needs?|without|allow) java ?script|java ?script (?:is |must be |to be "
    r"|has been )*(?:required|disabled|enabled|not enabled|turned off|not available)"
    r"|aktivieren sie (?:bitte )?java ?script|java ?script (?:ist |muss |wird )?(?:aktivier|deaktivier|benötigt"
    r"|erforderlich)"
    r"|activer java ?script|java ?script (?:est )?(?:désactivé|requis|nécessaire)|(?:habilit|activ|requiere"
    r"|necesita)\w* java ?script"
    r"|(?:abilita|attiva|richiede|abilitare|attivare) java ?script|(?:ativ|habilit|requer)\w* (?:o )?java ?script"
    r"|schakel java ?script in|java ?script (?:inschakelen|is vereist)"
    r"|(?:włącz|włączyć|wymaga) (?:obsług\w+ )?java ?script|java ?scriptを?(?:有効|オン|が必要)|(?:启用|啟用|开启"
    r"|開啟|打开"
    r"|需要) ?java ?script|java ?script(?:를|을)? ?(?:활성|사용|켜|필요)"
    r"|(?:הפעל|להפעיל|הפעילו)(?: את)? ?java ?script|(?:تفعيل|تمكين|تشغيل) ?java ?script"
)

LOADING = re.compile(
    r"(?:\w+ ){0,2}(?:loading|please wait|wird geladen|lädt|chargement|cargando|caricamento|carregando|laden|ładowanie"
    r"|proszę czekać)\b"
    r"|読み込み|加载|載入|로딩|불러오는|טוען|جار[ٍي]? ?(?:ال)?تحميل"
)

BOT_TITLE = re.compile(
    _any(
        r"just a moment|one moment,? please|please wait|attention required.*|access denied"
        r"|access to this page has been denied.*",
        r"pardon our interruption|robot check|(?:are )?you (?:are )?(?:a |not a )?(?:robot|human|bot)\?*"
        r"|(?:sorry, )?you have been blocked|checking your browser.*",
        r"(?:security|browser|human|bot|captcha) (?:check|checkpoint|verification|challenge)|(?:please )?(?:verify"
        r"|confirm|prove) (?:that )?you(?:'re| are) (?:a )?(?:human|not a (?:ro)?bot)|captcha",
        r"verifying you are human.*|making sure you're not a bot|sucuri website firewall.*|ddos-guard"
        r"|vercel security checkpoint|challenge validation|client challenge",
        r"nur einen moment|einen moment(?:,? bitte)?|sicherheits(?:überprüfung|prüfung|abfrage)|zugriff verweigert"
        r"|un instant|un moment|accès refusé|vérification de sécurité",
        r"un momento|acceso denegado|verificación de seguridad|ci siamo quasi|accesso negato|verifica di sicurezza"
        r"|um momento|acesso negado|verificação de segurança",
        r"een (?:moment|ogenblik).*|toegang geweigerd|cierpliwości|jeszcze chwila|chwileczkę|odmowa dostępu"
        r"|しばらくお待ちください|アクセスが拒否されました|セキュリティ(?:確認|チェック)",
        r"(?:请|請)稍(?:候|等)|安全(?:验证|驗證|检查|檢查)|人机验证|访问被拒绝|存取被拒|잠시만 기다리(?:십시오|세요)"
        r"|보안 (?:확인|검사)|접근이 거부.*|רק רגע"
        r"|בדיקת אבטחה|لحظة|تحقق أمني",
    )
)
HUMAN = re.compile(
    _any(
        r"(?:verify|verifying|confirm|make sure|prove|checking|ensure|check)(?: (?:that|if))? you(?:'re| are) (?:a "
        r"|not a )?(?:real )?(?:human|person|robot|bot)|not a (?:ro)?bot|are you (?:a )?(?:human|robot)",
        r"unusual (?:traffic|activity)|automated (?:requests|access|queries|traffic|tools)|checking your browser"
        r"|security of your connection|complete the (?:captcha|security check)|(?:solve|enter) the captcha"
        r"|characters you see",
        r"press (?:&|and) hold|you have been blocked|have i been blocked|protect(?:ion)? (?:itself )?(?:from"
        r"|against) (?:online|ddos|bot)|ray id|incident id|reference #\s?\d|performing security verification",
        r"(?:bestätig|überprüf|prüf|sicherstell).{0,40}(?:mensch|kein roboter)|ungewöhnliche.{0,12}(?:aktivität"
        r"|datenverkehr|zugriff)|ihr browser wird",
        r"(?:vérifi|confirm|prouve).{0,40}(?:humain|pas un robot)|trafic inhabituel|activité inhabituelle|(?:verific"
        r"|confirm|comprob|demuestr).{0,40}(?:human|no (?:es|eres) un robot)|(?:tráfico|actividad) inusual",
        r"(?:verific|conferm).{0,40}(?:uman|non sei un robot)|traffico (?:insolito|anomalo)|(?:verific"
        r"|confirm).{0,40}não é um robô|tráfego incomum",
        r"(?:controleer|verifi|bevestig).{0,40}(?:mens bent|geen robot)|(?:sprawd|potwierd|zweryfik"
        r"|upewni).{0,40}(?:człowiekiem|nie jesteś robotem)",
        r"(?:ロボット|人間).{0,20}(?:確認|ではありません|でない)|(?:验证|驗證|确认|確認|证明|證明).{0,12}(?:真人|人类"
        r"|人類|机器人|機器人)|人机验证|异常(?:流量|访问)",
        r"(?:사람|로봇).{0,14}(?:확인|아닙니다|아님)|(?:אינך|אתה לא|אני לא) רובוט|(?:שאתה|שאת) אנושי|(?:لست"
        r"|ليس) (?:روبوت|برنامج)"
        r"|أنك (?:إنسان|بشر)",
    )
)

# A page about such things, not one of them.
ABOUT = re.compile(
    r"\b(?:(?:this|the|an|following|404|403|429|503) (?:http )?(?:error|status|message)s?(?! (?:page|id|occurred"
    r"|has occurred))|error messages?|means that|occurs (?:when|if)|"
    r"how to|to (?:fix|solve|resolve) (?:this|the|it)|troubleshoot\w*|workarounds?|symptoms?|resolution|for example"
    r"|following steps|"
    r"diese(?:r|n)? fehler|fehlermeldung|bedeutet|so (?:geht's|beheben)|zum beispiel|cette erreur|message d'erreur"
    r"|signifie|comment (?:faire|se)|"
    r"este error|mensaje de error|significa|cómo|questo errore|messaggio di errore|este erro|mensagem de erro"
    r"|como (?:fazer|resolver)|"
    r"deze fout|foutmelding|betekent|ten błąd|komunikat o błędzie|oznacza)\b|エラーメッセージ|この(?:エラー"
    r"|メッセージ)|方法|错误(?:信息|消息)"
    r"|錯誤訊息|如何|오류 메시지|방법|הודעת (?:ה)?שגיאה|כיצד|رسالة الخطأ|كيفية"
)
