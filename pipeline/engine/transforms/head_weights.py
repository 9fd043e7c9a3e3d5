"""Weights of the network that tells heads from other blobs of skin color. Written by benchmarks.quality.train_heads."""

from __future__ import annotations

SCALE = 181.2411
"""Divisor of the weights in `UNITS`, which are whole numbers from -128 to 127."""

BIAS = -1.628

UNITS: tuple[tuple[str, tuple[float, float, float, float], float, float], ...] = (
    (
        "etcbASDb`?jb$&Yzmas8Sf9twpoN`*cbkoIoR^7PPhyB}tdMYQYFdz-Qe<z5T$Yiyqo<LjX>E<3rGbQOU3Z(1VpV2FZ-{v_O?72@c!)|vYm<{ymX%y@nwo^Uu3P",
        (-0.212, 0.163, -0.024, -0.373),
        0.909,
        -1.507,
    ),
    (
        "tB!}ep_+H6e1XHQRBnrRc5Pomd~tb)Ph2Z+fsmlQq<?^Wfq;ITkx-S9d~JSqMVfnqovnp>UuBGxeo$0tVvxdG9Z8LHprv#)cXgeHnPq8qU~_Y7aAa+#mZE&dmy!",
        (0.095, -0.431, -0.035, 0.017),
        1.013,
        -1.561,
    ),
    (
        "Vv(VPs+(Y~omNXxt+;}aUuIc$gJpDqm4seye4ea?xSE4~Z<UjgXn24|gl?HwZH;YTV_j~Al38zgZd;UNd!THhZ(Uf9p^T$}TwGIzh=@>Qcv)G5R$Oy&Y;tUJac}",
        (-0.015, 0.058, 0.072, -0.119),
        0.058,
        1.328,
    ),
    (
        "tFCN6Yp|!LPb`K>Nv?=Bv%|DVgnx6pN3v~=c4ec8tZZw7k6E`zfRTcWZ)1O-go=xHdVh<Eg=>I;gmH$4frN5=hKhuCY;b09i-mK5etdF<l!=mViiwbklY)wdm4*",
        (-0.093, 0.193, -0.204, 0.192),
        -0.061,
        1.241,
    ),
    (
        "gkfJ}W?_P4Q<A}(Z*OyxuX4GoigK%egNUDWWtowSnuJ+_O^=p=N{E6@e$aweekV#*YGO$$Sa^k#mxF0+qN0(ot8;Cfou{6iY-x&@rI(9rU2l|zlVoRNb%vpaaAy",
        (0.353, 0.096, -0.154, 0.537),
        -0.137,
        1.354,
    ),
    (
        "fsJorcz<`5my$$pg?*ifp@3<OX>@p^nv92_f^2SQql}S-ZDVI}kcwkob*E;Ola6OyO=W?tm3xzLk&2#jikzIBsEc=ZxtFe>k6eF_hlHSkN}PdHZk29^wyaZ;sfY",
        (0.337, -1.455, 0.054, -0.263),
        0.37,
        -1.566,
    ),
    (
        "VtSCUl5T%mNNc)-c$;W5K%1C=y`^7Ci*#dlj)Z^7Lv(DQj*7WtPr00HnVGFke0O+sVMk$uig9URfP{^4ZeN>*l#YOCkC&~0j*yLan}?8jc7<noc6M5YmzG?wkc<",
        (0.272, -0.61, 0.137, 0.037),
        0.546,
        -1.419,
    ),
    (
        "ajTGxfT*u#TDF0El(Ub8dyrv}aArMwf}ELXW@u%7bdh{IYnOb3qkJ!MkakwGvy_LNoQ`&fdu)@SmSa<BS#PC_jDK-FUx#^lky=VsYG;IlacX>Ma&2pic&vwtl#&",
        (-0.182, 0.337, -0.013, -0.177),
        0.657,
        -1.367,
    ),
    (
        "frny?Wr~T8f{H$hc!z<WoJ@X-bc30Xet3$3d3tz=pOJWqczc(LfP!~|mra<0cM&=}L_|OVoQhRGR)Uh!xn^-zsolA!f@^!GyQz?5aAS$4lW#dxKYN|cY;Tr!e!K",
        (-0.32, 0.976, 0.1, -0.294),
        0.817,
        -2.014,
    ),
    (
        "a-*1&rJ8k&n|dymrHHF{9+)VLtB5aXsAejTv4VSwbAYFUridGmrgeX%lu?VXYgk@QNn2%ETxV&OW@%<@c+tPjes^T5z^lEkbbW8IuCjZBjaY`yk7kKqR&=*=Q%?",
        (-0.213, 0.178, 0.112, -0.144),
        -0.115,
        1.626,
    ),
)
"""Hidden units: the weights of a patch (base 85, brightness before skin), of four facts, bias, output weight."""
