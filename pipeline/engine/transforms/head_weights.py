"""Weights of the network that tells heads from other blobs of skin color. Written by benchmarks.quality.train_heads."""

from __future__ import annotations

SCALE = 177.53
"""Divisor of the weights in `UNITS`, which are whole numbers from -128 to 127."""

BIAS = -2.619

UNITS: tuple[tuple[str, tuple[float, float, float], float, float], ...] = (
    (
        "oPvyvpOJW^fOv$fmTZk~dxoHOU5;jTk&j_xoPUIPcx-Bjgp+A{X;Q10mWg+5CYOnefP9LEh>v@5bcuY5jD>-Kfpvy|f`V>paF39DU1D@;dx~pNUuRp4oPKk8fnE",
        (0.2, -0.112, 0.044),
        0.955,
        -1.007,
    ),
    (
        "l96#`T!f{9Q(=&0NP=)<r_iiuYG#hVX}FYaac!-euySyOYjC=7YIc!la*%IbiA!&XmV#nPe4MC}tCxI%qlA2eqkwdNZ(44IdvA1#l#O<GZET&nplowvQ<SfqTxb",
        (-0.411, 0.158, 0.003),
        -0.289,
        1.416,
    ),
    (
        "fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2e}I61fPjF2fPjF2fPjF2fPjF2fPjI3fPa91fPjF2fPjF2fPjF2fPjF2fPjF2fPe",
        (0.0, -0.0, 0.0),
        -0.17,
        -0.0,
    ),
    (
        "mpXESjY@k!YQWjJdPjz@h(&U%my@7fdufo9h>B}iV}XrukArA}i*$N_k*SJxe|?gfoRW`njFWL*X@-H2i)v|Tg@}%edvkn?g@ufhmz$4*Wp$IZnRa4QSA>;;OH=",
        (-0.38, 0.006, 0.001),
        0.094,
        1.375,
    ),
    (
        "fPjF2fPjF2fPjF2fPjF2fPjF2fPjF3fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjC1fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPjF2fPe",
        (-0.0, -0.0, 0.0),
        -0.313,
        0.0,
    ),
    (
        "C~d^GifUDY--S$rmWr&E9(-w*j+AR|jApTacX@ecl#g1EZiAJiSbKJhnQMx3iH(qJV0Ds_jAUVcY;lWpZlRuzeS3D5r;VAEdv$c0rHyTNfNXo4Z)JUXV{e6RXng",
        (-0.214, 0.104, 0.036),
        -0.13,
        1.363,
    ),
    (
        "bZTsDb985-p?6zpl#`{ghf0B-e37q-Vt12xdVp$xdVhq0cxi`yg@S&Dg>H?HiHTZNE=^K^u8&|jUW=Tvm1{&`jGdgMY+hoEnTeEeL~NUoetTd|YLJJWsEKNivZn",
        (0.338, 0.151, 0.167),
        1.676,
        -1.409,
    ),
    (
        "W{{Sec5<*>g{zZhZM8vFlZ<zbu~;~CfP<N#gll|zaEg9-iKKmKVuDVfuZDDPlzMe<ZGwrPa)5Jiew(9RU2}$yq^L?mXN859m}_!gUVD>(cY||NXMk^sr<8GUi-i",
        (0.238, -0.261, 0.074),
        1.02,
        -1.29,
    ),
    (
        "u9bXejhU;UgmqYBoThPQd6!>jiGN;ge`-a6etw8^dvlVGop(%Nl9-jLesOu9j%;;XVp3^iXlseKhFMp0mb1&kmS=dazOm1<YI1X$$)#~_fM<NAdUl9-VrhhNZFc",
        (-0.332, 0.559, -0.061),
        -0.616,
        1.571,
    ),
    (
        "j*5S&dxLm(c5ah%b#8@>cYk|;bcK|Ke{XGlaFT18d3b|@b!mv2hmm`FV3CA|nWUM!y|<N#dUct*oM=vKI$)Po6*zD>Y`$XwKvYj~j%`9wZG)+h$fJRFgQ&97v5f",
        (0.432, -0.133, -0.002),
        0.42,
        -1.831,
    ),
)
"""Hidden units: the weights of a patch (base 85, brightness before skin), of three facts, bias, output weight."""
