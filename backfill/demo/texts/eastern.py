"""Phrases of personal mail in languages that had charsets of their own."""

from __future__ import annotations

from backfill.demo.texts.tongue import Tongue

POLISH = Tongue(
    charsets=("iso-8859-2", "windows-1250", "utf-8"),
    names=(("Łucja Dąb", "lucja"), ("Wojciech Żuraw", "wojciech.zuraw")),
    hello=("Cześć {you},", "Dzień dobry {you},"),
    news=(
        "Wróciliśmy z gór, pogoda była przepiękna.",
        "Remont wreszcie skończony, zostało tylko sprzątanie.",
        "Dziękuję jeszcze raz za miły wieczór.",
        "W ogrodzie dojrzały śliwki, będzie dużo powideł.",
    ),
    matters=("umowa najmu", "kosztorys", "zebranie w szkole", "tłumaczenie"),
    whens=("do piątku", "do jutra wieczorem", "przed piętnastym"),
    asks=(
        "Czy możesz spojrzeć i odpisać {when}? Chodzi o: {matter}.",
        "Potrzebuję Twojej decyzji {when}. Temat: {matter}.",
        "Pilne! Brakuje podpisu ({matter}), proszę prześlij go {when}.",
    ),
    thoughts=("Zgoda, oprócz terminu.", "Taniej, niż myślałem.", "Zapytam i dam znać.", "Kto się tym zajmie?"),
    chat_subjects=("Co słychać", "Dziękuję!", "Zdjęcia"),
    ask_subjects=("Pytanie: {matter}", "Proszę o odpowiedź", "Pilne: {matter}"),
    bye=("Pozdrawiam", "Do usłyszenia", "Ściskam"),
    wrote="{date} {who} pisze:",
)

RUSSIAN = Tongue(
    charsets=("koi8-r", "windows-1251", "utf-8", "iso-8859-5"),
    names=(("Ольга Рябинина", "olga"), ("Пётр Озёрный", "petr"), ("Вера Лесная", "vera.l")),
    hello=("Привет, {you}!", "Здравствуй, {you}!", "Добрый день, {you}!"),
    news=(
        "Мы вернулись с дачи, яблок в этом году очень много.",
        "Ремонт почти закончен, осталось покрасить окна.",
        "Спасибо за прекрасный вечер, всем очень понравилось.",
        "Дочка пошла в школу и теперь всех учит читать.",
        "Погода холодная, но солнечная, катаемся на лыжах.",
    ),
    matters=("договор аренды", "смета на ремонт", "родительское собрание", "перевод статьи", "билеты на поезд"),
    whens=("до пятницы", "до завтрашнего вечера", "до пятнадцатого числа", "не позднее понедельника"),
    asks=(
        "Посмотри, пожалуйста, и ответь {when}. Тема: {matter}.",
        "Мне нужно твоё решение {when}. Вопрос такой: {matter}.",
        "Срочно: не хватает подписи ({matter}), пришли её, пожалуйста, {when}.",
        "Сможешь ли ты созвониться {when}? Тема: {matter}.",
    ),
    thoughts=(
        "Согласна, кроме даты.",
        "Дешевле, чем я думал.",
        "Узнаю и напишу.",
        "Кто этим займётся?",
        "Давайте не будем спешить.",
    ),
    chat_subjects=("Привет с дачи", "Спасибо!", "Фотографии", "Новости"),
    ask_subjects=("Вопрос: {matter}", "Жду ответа", "Срочно: {matter}"),
    bye=("Всего доброго,", "Обнимаю,", "С уважением,"),
    wrote="{date} {who} пишет:",
)

JAPANESE = Tongue(
    charsets=("iso-2022-jp", "iso-2022-jp", "shift_jis", "euc-jp", "utf-8"),
    names=(("森 あおい", "aoi"), ("川野 はると", "haruto"), ("田原 みどり", "midori")),
    hello=("{you}さん、こんにちは。", "{you}様、お世話になっております。", "{you}さん、お元気ですか。"),
    news=(
        "先週は京都へ行きました。紅葉がとてもきれいでした。",
        "庭の梅が咲き始めました。",
        "昨日はごちそうさまでした。とても楽しかったです。",
        "新しい仕事にもようやく慣れてきました。",
        "写真を何枚か送りますね。",
    ),
    matters=("賃貸契約", "見積書", "保護者会", "翻訳の原稿", "来月の発表"),
    whens=("金曜日まで", "明日の夕方まで", "15日まで", "月曜日の会議の前まで"),
    asks=(
        "{matter}を確認して、{when}にお返事いただけますか。",
        "{matter}について、{when}にご判断をお願いします。",
        "至急:{matter}の署名が足りません。{when}にお送りください。",
        "{matter}のことで、{when}に少しお話しできますか?",
    ),
    thoughts=(
        "私も賛成です。日程だけ調整させてください。",
        "思ったより安いですね。",
        "確認してご連絡します。",
        "それでお願いします。",
        "担当はどなたでしょうか。",
    ),
    chat_subjects=("近況報告", "ありがとうございました", "写真", "ご無沙汰しています"),
    ask_subjects=("{matter}について", "ご確認のお願い", "【至急】{matter}"),
    bye=("よろしくお願いします。", "それでは、また。", "お体に気をつけて。"),
    wrote="{date} {who}:",
)

CHINESE = Tongue(
    charsets=("gb18030", "gb2312", "gbk", "utf-8"),
    names=(("林小雨", "xiaoyu"), ("江一帆", "yifan")),
    hello=("{you},你好!", "{you},早上好,"),
    news=(
        "上周末我们去爬山,天气非常好。",
        "家里的装修终于完工了,欢迎来做客。",
        "谢谢你的款待,孩子们都很开心。",
        "新办公室离家很近,走路十分钟就到。",
    ),
    matters=("租房合同", "报价单", "家长会", "翻译稿"),
    whens=("周五之前", "明天晚上之前", "15号之前"),
    asks=(
        "请你看一下{matter},{when}回复我可以吗?",
        "关于{matter},我{when}需要你的决定。",
        "紧急:{matter}还缺签名,请{when}发给我。",
    ),
    thoughts=("同意,只是日期要改一下。", "比预想的便宜。", "我问一下再告诉大家。", "谁来负责?"),
    chat_subjects=("近况", "谢谢!", "照片"),
    ask_subjects=("关于{matter}", "请回复", "紧急:{matter}"),
    bye=("祝好!", "此致 敬礼", "保重!"),
    wrote="{date},{who} 写道:",
)
