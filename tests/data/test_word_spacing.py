"""Spaces of ordinary typography: sentences as they are printed, by hand."""

import pytest

from tfllm.data.labelled.word_spacing import restore

PRINTED = {
    'He went to Bonn ( Germany ) , not to " Rome " .': 'He went to Bonn (Germany), not to "Rome".',
    "`` Do n't , '' it 's -LRB- 10 % -RRB-": "\"Don't,\" it's (10%)",
    "私 は パリ に 住む 。": "私はパリに住む。",
    # English
    "We ’ve sold them , have n’t we ?": "We’ve sold them, haven’t we?",
    "the boys ' house is Jack 's": "the boys' house is Jack's",
    "He said ' no ' : never !": "He said 'no': never!",
    "It ended ''": 'It ended"',
    'so I hope . "': 'so I hope."',
    '" Yes , " he said , " yes . "': '"Yes," he said, "yes."',
    "C$ 0.50 and $ 10 , 5 € ; 3 percent": "C$0.50 and $10, 5 €; 3 percent",
    "GOLF - SCORES [ final ] { 1 }": "GOLF - SCORES [final] {1}",
    "-LSB- sic -RSB- and\\/or -LCB- x -RCB- ...": "[sic] and/or {x}...",
    "1996-08-22 -- well , it rained …": "1996-08-22 -- well, it rained…",
    "rock 'n' roll in the '90s": "rock 'n' roll in the '90s",
    "she was goin' out": "she was goin' out",
    # German, Swedish, Danish, French, Italian, Spanish, Russian
    "„ Ja “ , sagte er .": "„Ja“, sagte er.",
    "” Hej ” , sade han .": "”Hej”, sade han.",
    "» Nej « , sagde han .": "»Nej«, sagde han.",
    "l' eau qu' il a , aujourd'hui": "l'eau qu'il a, aujourd'hui",
    "nell' arte e l’ amore": "nell'arte e l’amore",
    "¿ Qué ? ¡ No !": "¿Qué? ¡No!",
    "« Да » , сказал он .": "«Да», сказал он.",
    # Other scripts' marks
    "كيف حالك ؟": "كيف حالك؟",
    "نعم ، شكرا ؛ إلى اللقاء !": "نعم، شكرا؛ إلى اللقاء!",
    "یہ کتاب ہے ۔ ٥٠ ٪ ؟!": "یہ کتاب ہے۔ ٥٠٪؟!",
    "राम घर गया । सीता भी ॥": "राम घर गया। सीता भी॥",
    "আমি যাই ।": "আমি যাই।",
    "Բարեւ ՝ աշխարհ ։": "Բարեւ՝ աշխարհ։",
    "ሰላም ፣ ዓለም ።": "ሰላም፣ ዓለም።",
    "Ναι , τι ;": "Ναι, τι;",
    "བཀྲ །": "བཀྲ།",
    "what ⁇ 2 · 3 § 5": "what⁇ 2 · 3 § 5",
    # Scripts without spaces
    "我 用 Google 搜索 ， 好 ！": "我用Google搜索，好！",
    "1 9 9 8 年": "1998年",
    "แมว สีดำ นอน": "แมวสีดำนอน",
    "เขา ใช้ Google ทุกวัน": "เขาใช้ Google ทุกวัน",
    "그는 서울에 산다 .": "그는 서울에 산다.",
    "中国 과 한국": "中国 과 한국",
}


@pytest.mark.parametrize("split", PRINTED)
def test_a_sentence_is_as_printed(split):
    words, spaced = restore(split.split())
    assert len(words) == len(spaced) == len(split.split()) and spaced[-1]
    assert "".join(word + " " * space for word, space in zip(words, spaced, strict=True)).rstrip() == PRINTED[split]
