"""Words by which columns of Chinese public bodies tell what they hold: English, pinyin, initials, Chinese."""

from __future__ import annotations

from typing import Final

CLASS_OF: Final[dict[str, int]] = {
    "id_number": 4,
    "biometric": 4,
    "health": 4,
    "bank_account": 4,
    "person_name": 3,
    "birth_date": 3,
    "mobile": 3,
    "email": 3,
    "address": 3,
    "credit_code": 3,
    "ethnic_code": 3,
    "certificate_number": 3,
    "location": 3,
    "free_text": 3,
}
"""Sensitivity → the class that a guess of it gives."""

_TEXTS: Final[dict[str, str]] = {
    "id_number": (
        "idcard idno idnumber idcardno citizenid sfz sfzh sfzhm sfzjh sfzjhm gmsfhm gmsfzh "
        "shenfenzheng 身份证 身份号码 公民身份"
    ),
    "biometric": (
        "biometric fingerprint face faceid iris voiceprint photo portrait zhiwen renlian zp 指纹 人脸 "
        "虹膜 声纹 照片 基因"
    ),
    "health": (
        "health disease diagnosis illness medical blood allergy jiankang jibing zd bs 健康 疾病 诊断 "
        "病史 病历 血型 过敏 残疾"
    ),
    "bank_account": (
        "bank bankcard bankaccount cardno cardnumber accountno iban yhk yhkh yhzh yhzhh kahao "
        "zhanghao 银行 卡号 账号 帐号"
    ),
    "person_name": (
        "name fullname realname personname username xm xingming lxr lxrxm fddbr fddbrxm 姓名 名字 "
        "联系人 法定代表人 户主"
    ),
    "birth_date": "birth birthday birthdate dateofbirth dob csrq csny chusheng shengri 出生 生日",
    "mobile": (
        "mobile phone phoneno tel telephone cellphone contactno sj sjh sjhm lxdh lxfs dh dhhm shouji "
        "dianhua 手机 电话 联系方式"
    ),
    "email": "email mail emailaddress dzyx yx youxiang 邮箱 电子邮件",
    "address": (
        "address addr street residence dz jtdz jtzz zz txdz hjdz xzz xxdz lxdz zhuzhi dizhi 地址 住址 "
        "住所 户籍地 居住地 门牌"
    ),
    "credit_code": "uscc creditcode tyshxydm shxydm xydm 信用代码",
    "ethnic_code": "ethnic ethnicity nation mz mzdm minzu 民族",
    "certificate_number": (
        "certificate certificateno certno passport passportno licence license licenseno zjhm zjh zsbh "
        "hzhm huzhao zhengjian 证件 护照 证书编号 执照 许可证号 驾驶证"
    ),
    "location": (
        "lat lng lon latitude longitude gps geo geom coordinate jd wd jingdu weidu 经度 纬度 坐标 定位"
    ),
    "free_text": (
        "remark remarks note notes memo comment comments description bz beizhu sm ms 备注 说明 描述 意见 事由"
    ),
}
WORDS: Final[dict[str, tuple[str, ...]]] = {kind: tuple(text.split()) for kind, text in _TEXTS.items()}
"""Sensitivity → its words."""

SURNAMES: Final[tuple[str, ...]] = (
    *["欧阳", "司马", "上官", "诸葛", "东方", "皇甫", "尉迟", "公孙", "慕容", "司徒", "令狐", "夏侯"],
    *"王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈姚卢姜崔钟谭陆汪范金石廖贾",
    *"夏韦付方白邹孟熊秦邱江尹薛闫段雷侯龙史陶黎贺顾毛郝龚邵万钱严覃武戴莫孔向汤欧祝尤柳鲍庄温殷舒",
)
"""Frequent family names; with other ones a column is still told by its other rows."""

HAN: Final = "\u4e00-\u9fff·"
