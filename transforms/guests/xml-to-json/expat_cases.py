"""Writes src/wellformed_cases.txt: documents, and whether expat takes them without and with namespaces.

Run by hand, in this folder: python3 expat_cases.py. The test `expat_and_the_reader_agree` reads the file. Left out is what
the module refuses on purpose (document types, an empty version) and where editions of XML differ (names beyond ASCII).
"""

import random
import xml.parsers.expat

HAND = r"""
<a/>|<a></a>|<a />|<a></a >|<a></ a>|< a/>|<a/ >|<a|<a>|</a>|<>|<a/>x|x<a/>|<a/><b/>|<a></b>|<a><b></a></b>||text
<a>x</a>|<a>]]</a>|<a>]]></a>|<a>]]]></a>|<a>]]&gt;</a>|<a>]></a>|<a>></a>|<a>&</a>|<a>& b</a>|<a>&amp</a>|<a>&amp;</a>
<a>&lt;&gt;&apos;&quot;</a>|<a>&nbsp;</a>|<a>&#65;</a>|<a>&#x41;</a>|<a>&#X41;</a>|<a>&#;</a>|<a>&#x;</a>|<a>&#0;</a>|<a>&#1;</a>
<a>&#9;</a>|<a>&#x1F;</a>|<a>&#xFFFE;</a>|<a>&#xD800;</a>|<a>&#x10FFFF;</a>|<a>&#x110000;</a>|<a>&#99999999999;</a>|<a>&#+5;</a>
<a>&#x+5;</a>|<a>& amp;</a>|<a>&amp ;</a>|<a>&1;</a>|<a>&;</a>|&amp;<a/>|<a/>&amp;|<a/>&#32;|&#32;<a/>|<a/>\n|\n<a/>|\r\n <a/>\t
<a b='1'/>|<a b="1"/>|<a b=1/>|<a b/>|<a b=/>|<a b='1' c='2'/>|<a b='1'c='2'/>|<a b='1' b='2'/>|<a b = '1'/>|<a\nb\n=\n'1'\n/>
<a b='<'/>|<a b='>'/>|<a b='&'/>|<a b='&amp;'/>|<a b='&nbsp;'/>|<a b='&lt;'/>|<a b='&#60;'/>|<a b='&#0;'/>|<a b='"'/>|<a b="'"/>
<a b='1"/>|<a b='1|<a b='|<a b|<a ='1'/>|<a 'b'/>|<a b='1' /c/>|<a b='\x01'/>|<a b='\t\n\r'/>|<a/b/>|<a b='1'//>|<a></a b='1'>
<a b=''/>|<a b='1' B='2'/>|<a b='1' c='2' b='3'/>|<a =''/>|<a b=='1'/>|<a b='a' 'c'/>|<a b='a'=''/>
<1a/>|<-a/>|<.a/>|<_a/>|<a1/>|<a-b/>|<a.b/>|<a_b/>|<a$/>|<a@b/>|<a b$='1'/>|<a 1b='1'/>|<a,b/>|<a;/>|<a"/>|<a'/>|<a=/>
<!-- c --><a/>|<a/><!-- c -->|<a><!-- c --></a>|<a><!----></a>|<a><!-- -- --></a>|<a><!-- ---></a>|<a><!--->--></a>|<a><!-- c</a>
<a><!- c --></a>|<a><!--c--x></a>|<a><!-- \x01 --></a>|<!-- c -- c --><a/>|<!---><a/>|<a><!-- < & > --></a>|<a><!-- c -- ></a>
<a b='1' <!-- c -->/>|<!-- c -->|<a/><!-- c|<!--<a/>
<?p?><a/>|<?p d?><a/>|<a><?p d?></a>|<a/><?p?>|<? p?><a/>|<?p><a/>|<?p d><a/>|<?xml?><a/>|<?XML d?><a/>|<a><?xml version='1.0'?></a>
<?xmlx?><a/>|<?xml-stylesheet href='x'?><a/>|<?1?><a/>|<?p?d?><a/>|<?p ?d?><a/>|<?p ??><a/>|<?p&?><a/>|<?p \x01?><a/>|<?XmL d?><a/>
<?p:q d?><a/>|<??><a/>|<?p d?|<?p
<?xml version='1.0'?><a/>|<?xml version="1.0"?><a/>|<?xml version='1.1'?><a/>|<?xml version='2.0'?><a/>
<?xml version='1.0' ?><a/>|<?xml  version = '1.0'  ?><a/>|<?xml version='1.0'encoding='UTF-8'?><a/>|<?xml version='1.0' encoding='UTF-8'?><a/>
<?xml encoding='UTF-8'?><a/>|<?xml encoding='UTF-8' version='1.0'?><a/>|<?xml version='1.0' standalone='yes'?><a/>
<?xml version='1.0' standalone='no'?><a/>|<?xml version='1.0' standalone='maybe'?><a/>|<?xml version='1.0' standalone='YES'?><a/>
<?xml version='1.0' standalone='yes' encoding='UTF-8'?><a/>|<?xml version='1.0' encoding='UTF-8' standalone='yes'?><a/>
<?xml version='1.0' encoding=''?><a/>|<?xml version='1.0' encoding='1x'?><a/>|<?xml version='1.0' encoding='UTF 8'?><a/>
<?xml version='1.0' encoding='utf-8'?><a/>|<?xml version='1.0' encoding='us-ascii'?><a/>|<?xml version='1.0' encoding='UTF-16'?><a/>
<?xml version='1.0' foo='x'?><a/>|<?xml version='1.0' version='1.0'?><a/>|<?xml version=1.0?><a/>|<?xml version='1.0"?><a/>
<?xml version='1.0'><a/>|<?xml version='1.0'|<?xml version='1.0' encoding='no-such-encoding'?><a/>|<?xml versio='1.0'?><a/>
<?xml version='1 0'?><a/>|<?xml version='1.0' encoding='UTF-8' encoding='UTF-8'?><a/>|<?xml\nversion='1.0'\n?>\n<a/>|<?xml Version='1.0'?><a/>
<?xml version='1.0' standalone='yes' standalone='yes'?><a/>|<?xml version='1.0'? ><a/>|<?xml version='1.0'?>|<?xml version='1.0'?>\n
 <?xml version='1.0'?><a/>|\n<?xml version='1.0'?><a/>|<!-- c --><?xml version='1.0'?><a/>|x<?xml version='1.0'?><a/>|<?xml version='1.0'?><?xml version='1.0'?><a/>
<a><![CDATA[x]]></a>|<a><![CDATA[]]></a>|<a><![CDATA[<&>]]></a>|<a><![CDATA[]]]]></a>|<a><![CDATA[x]></a>|<a><![CDATA[x</a>
<![CDATA[x]]><a/>|<a/><![CDATA[x]]>|<a/><![CDATA[ ]]>|<a><![cdata[x]]></a>|<a><! [CDATA[x]]></a>|<a><![CDATA[\x01]]></a>|<a><![CDATA [x]]></a>
<a><![CDATA[]]>]]></a>|<a><![CDATA[ ]] > ]]></a>|<a><!x></a>|<a><!></a>|<a><![IGNORE[x]]></a>|<a><!ELEMENT a></a>
<a>\x00</a>|<a>\x01</a>|<a>\x08</a>|<a>\x0b</a>|<a>\x0c</a>|<a>\x1f</a>|<a>\x7f</a>|\x01<a/>|<a/>\x01|<a\x01/>|<a \x0c/>|<a>\t\r\n</a>
<x:a/>|<x:a xmlns:x='u'/>|<x:a xmlns:x=''/>|<a xmlns=''/>|<a xmlns='u'/>|<a x:b='1'/>|<a x:b='1' xmlns:x='u'/>|<a xmlns:x='u'><x:b/></a>
<a><x:b xmlns:x='u'/><x:c/></a>|<a><b xmlns:x='u'><x:c/></b></a>|<x:y:a xmlns:x='u'/>|<:a/>|<a:/>|<a :b='1'/>|<a b:='1'/>|<x:1 xmlns:x='u'/>
<a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>|<a xmlns:x='u' xmlns:y='v' x:b='1' y:b='2'/>|<a xmlns:x='u' x:b='1' b='2'/>
<a xmlns:xml='u'/>|<a xmlns:xml='http://www.w3.org/XML/1998/namespace'/>|<a xmlns:xmlns='u'/>|<a xml:lang='en'/>|<xml:a/>|<xmlns:a/>
<a xmlns:x='http://www.w3.org/XML/1998/namespace'/>|<a xmlns='http://www.w3.org/XML/1998/namespace'/>|<a xmlns='http://www.w3.org/2000/xmlns/'/>
<a xmlns:x='http://www.w3.org/2000/xmlns/'/>|<a xmlns:='u'/>|<a xmlns:x='u'></x:a>|<x:a xmlns:x='u'></x:a>|<x:a xmlns:x='u'></y:a>
<a xmlns:x='u' xmlns:x='v'/>|<a xmlns='u' xmlns='v'/>|<a xmlns:x='u'><b xmlns:x='v'><x:c/></b><x:d/></a>|<a x:b='1' x:b='2' xmlns:x='u'/>
""".strip("\n")

SEEDS = [
    b"<?xml version='1.0' encoding='UTF-8'?>\n<o id='7'><l k=\"a\">1<b>2</b>&amp;<![CDATA[<]]></l><!-- c --><?p d?><e/></o>\n",
    b"<x:a xmlns:x='urn:1' xmlns='urn:2' x:k='v' k='w'><x:b>1</x:b><c>t&#65;</c></x:a>",
    b"<item id=\"I101\" stock=\"50\"/>",
]
BYTES = b"<>&;:!?/'\"=-[] \n#xa1.]\x01"
PIECES = [b"]]>", b"--", b"<?", b"?>", b"<!--", b"-->", b"&#", b"<![CDATA[", b"</", b"/>", b" a='1'", b"&lt;", b"<b>", b"</b>"]


def encoded():
    plain = "<a>\u00e9</a>"
    yield plain.encode()
    yield plain.encode("latin-1")
    yield b"\xef\xbb\xbf" + plain.encode()
    yield b"\xef\xbb\xbf<?xml version='1.0'?><a/>"
    yield b"\xef\xbb\xbf\n<a/>"
    yield b"\xef\xbb\xbf\n<?xml version='1.0'?><a/>"
    yield b"\xef\xbb\xbf\xef\xbb\xbf<a/>"
    yield b"\xef\xbb\xbf"
    for name in ("ISO-8859-1", "iso-8859-1", "US-ASCII", "UTF-8", "windows-1252", "ISO-8859-15"):
        for text in (plain, "<a>x</a>"):
            for codec in ("latin-1", "utf-8"):
                yield f"<?xml version='1.0' encoding='{name}'?>{text}".encode(codec)
    for codec, mark in (("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")):
        for head in ("", "<?xml version='1.0'?>", "<?xml version='1.0' encoding='UTF-16'?>", "<?xml version='1.0' encoding='UTF-8'?>"):
            yield mark + (head + "<a>\u00e9\U0001f600</a>").encode(codec)
            yield (head + "<a>\u00e9</a>").encode(codec)
        yield mark + "<a>".encode(codec) + ("\ud800".encode(codec, "surrogatepass")) + "</a>".encode(codec)
        yield mark + "<a/>".encode(codec) + b"\n"
        yield mark + "\n<a/>".encode(codec)
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xef\xbf\xbe", b"\xef\xbf\xbf", b"\xc2\x85", b"\xc2\xa0"):
        yield b"<a>" + bad + b"</a>"
        yield b"<a/>" + bad


def mutated(source, count):
    for _ in range(count):
        document = bytearray(source.choice(SEEDS))
        for _ in range(source.randint(1, 3)):
            at = source.randrange(len(document) + 1)
            match source.randrange(5):
                case 0:
                    del document[at : at + source.randint(1, 3)]
                case 1:
                    document[at:at] = bytes([source.choice(BYTES)])
                case 2 if at < len(document):
                    document[at] = source.choice(BYTES)
                case 3:
                    document[at:at] = source.choice(PIECES)
                case _:
                    begin = source.randrange(len(document))
                    document[at:at] = document[begin : begin + source.randint(1, 12)]
        yield bytes(document)


def takes(document, namespaces):
    parser = xml.parsers.expat.ParserCreate(namespace_separator="\x1f" if namespaces else None)
    try:
        parser.Parse(document, True)
    except (xml.parsers.expat.ExpatError, LookupError, ValueError):
        return False
    return True


def main():
    documents = [part.encode().decode("unicode_escape").encode("latin-1") for line in HAND.split("\n") for part in line.split("|")]
    documents += list(encoded())
    documents += list(mutated(random.Random(7), 900))
    seen = {}
    for document in documents:
        if b"<!DOCTYPE" not in document:
            seen.setdefault(document)
    with open("src/wellformed_cases.txt", "w", encoding="ascii") as out:
        for document in seen:
            shown = "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02x}" for b in document)
            verdict = "".join("+" if takes(document, namespaces) else "-" for namespaces in (False, True))
            out.write(f"{verdict} {shown}\n")
    print(len(seen), "documents")


main()
