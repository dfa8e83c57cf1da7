"""Queries about nothing in particular, by which calibration learns what unrelated scores look like.

Everyday things in English and Chinese, text-like and picture-like. An index that happens to answer
a few of them loses little: what counts is the bulk of the scores.
"""

from __future__ import annotations

__all__ = ["REFERENCE_QUERIES"]

REFERENCE_QUERIES = tuple(
    line.strip()
    for line in """
    a dog running on the beach
    how to change a password
    red sports car
    annual financial report
    recipe for tomato soup
    football match
    map of europe
    software licence agreement
    children playing in a park
    symptoms of the flu
    mountain lake at sunset
    tax return deadline
    electric guitar
    history of ancient rome
    smartphone battery life
    wedding dress
    train timetable
    machine learning model
    fresh vegetables at the market
    contract termination clause
    elephant
    knitting pattern
    airport terminal
    quantum physics
    office chair
    poem about spring
    kitchen sink repair
    stock market chart
    swimming pool
    vaccination schedule
    black leather shoes
    city skyline at night
    一只小狗在草地上
    如何修改密码
    红色跑车
    年度财务报告
    番茄汤的做法
    足球比赛
    欧洲地图
    软件许可协议
    公园里的孩子
    流感的症状
    山间湖泊的日落
    报税截止日期
    电吉他
    古罗马历史
    手机电池续航
    婚纱
    列车时刻表
    机器学习模型
    菜市场的新鲜蔬菜
    合同终止条款
    大象
    毛衣编织图案
    机场航站楼
    量子物理
    办公椅
    关于春天的诗
    厨房水槽维修
    股票走势图
    游泳池
    疫苗接种时间表
    黑色皮鞋
    城市夜景
    """.strip().splitlines()
)
